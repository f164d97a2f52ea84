#!/bin/sh
# Boot the image in QEMU and ask it for its chain id. Outside SEV: this shows that the image works, nothing more.
#
#   test-vm-boot.sh [--port PORT] [--direct KERNEL INITRD [CMDLINE]]
#   test-vm-boot.sh [--port PORT] --disk DISK FIRMWARE
#
# Without --direct or --disk: --direct vmlinuz initrd.img. CMDLINE defaults to tee/configs/cmdline.txt, PORT (on
# 127.0.0.1, must be free) to 5050. --disk boots through the disk's own boot loader and leaves the disk unchanged; it
# wants a plain OVMF (Debian: package ovmf), because firmware built for AMD SEV does not boot outside it.
#
# Environment: MEMORY (4G), SMP (2), TIMEOUT (seconds for one boot, 120), ACCEL (auto, kvm or tcg), QEMU.
# With ACCEL=auto a guest that stays silent under KVM for KVM_SILENCE (5) seconds is started again under TCG: that
# /dev/kvm can be opened does not show that guests run.
#
# Exit codes: 0 the RPC answered, 1 it did not, 2 wrong arguments or something is missing, 3 QEMU did not start.
# Needs: qemu-system-x86_64, curl.
set -eu

usage() { sed -n '4,5s/^#   /usage: /p' "$0" >&2; exit 2; }
missing() { echo "test-vm-boot: $*" >&2; exit 2; }

qemu=${QEMU:-qemu-system-x86_64}
port=5050
boot=direct
kernel=vmlinuz
initrd=initrd.img
cmdline=$(cat "$(dirname "$0")/../configs/cmdline.txt")

while [ $# -gt 0 ]; do
    case $1 in
        --port)
            [ $# -ge 2 ] || usage
            port=$2
            shift 2
            ;;
        --direct)
            [ $# -ge 3 ] || usage
            kernel=$2
            initrd=$3
            shift 3
            case ${1-} in
                '' | --*) ;;
                *)
                    cmdline=$1
                    shift
                    ;;
            esac
            ;;
        --disk)
            [ $# -ge 3 ] || usage
            boot=disk
            disk=$2
            firmware=$3
            shift 3
            ;;
        *) usage ;;
    esac
done
case $port in '' | *[!0-9]*) usage ;; esac
command -v "$qemu" >/dev/null || missing "$qemu is not installed"
command -v curl >/dev/null || missing "curl is not installed"
readable() { for file in "$@"; do [ -r "$file" ] || missing "cannot read $file"; done; }
if [ "$boot" = direct ]; then readable "$kernel" "$initrd"; else readable "$disk" "$firmware"; fi
case ${ACCEL:=auto} in auto | kvm | tcg) ;; *) missing "ACCEL is auto, kvm or tcg, not $ACCEL" ;; esac

work=$(mktemp -d)
guest=
# shellcheck disable=SC2317  # called by the trap
stop_guest() {
    [ -n "$guest" ] || return 0
    # Not a polite signal: a guest that hangs under KVM can keep QEMU from hearing it. Nothing of it is kept.
    kill -KILL "$guest" 2>/dev/null || true
    wait "$guest" 2>/dev/null || true
    guest=
}
# shellcheck disable=SC2317
finish() {
    stop_guest
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

start_guest() { # ACCELERATOR
    : >"$work/serial"
    # romfile= : the card needs no network boot, and its option ROM costs seconds under TCG.
    set -- -accel "$1" -m "${MEMORY:-4G}" -smp "${SMP:-2}" -nodefaults -no-user-config -display none -no-reboot \
        -serial "file:$work/serial" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:5050" -device virtio-net-pci,netdev=net,romfile=
    [ "$accelerator" != kvm ] || set -- "$@" -cpu host
    if [ "$boot" = direct ]; then
        set -- "$@" -kernel "$kernel" -initrd "$initrd" -append "$cmdline"
    else
        # A comma in a file name ends an option's value; two stand for one.
        set -- "$@" -bios "$firmware" -snapshot \
            -drive "file=$(printf '%s' "$disk" | sed 's/,/,,/g'),format=raw,if=virtio"
    fi
    "$qemu" "$@" 2>"$work/qemu.log" &
    guest=$!
}

now() { date +%s; }
guest_runs() { kill -0 "$guest" 2>/dev/null; }
has_output() { [ -s "$work/serial" ]; }

# Waits for both answers. Returns 0 when they came, 1 when not, 2 when the guest stayed silent for SILENCE seconds.
await_rpc() { # SILENCE
    started=$(now)
    # One second for each attempt: QEMU accepts connections from the start, and one made before the guest has its
    # network is answered late.
    while guest_runs; do
        elapsed=$(($(now) - started))
        if health=$(curl -sf -m 1 "http://127.0.0.1:$port/") &&
            answer=$(curl -sf -m 1 -H 'Content-Type: application/json' "http://127.0.0.1:$port/" \
                -d '{"jsonrpc":"2.0","method":"starknet_chainId","params":[],"id":1}') &&
            chain_id=$(printf '%s\n' "$answer" | sed -n 's/.*"result" *: *"\(0x[0-9a-fA-F]*\)".*/\1/p') &&
            [ -n "$chain_id" ]; then
            return 0
        fi
        [ "$elapsed" -lt "${TIMEOUT:-120}" ] || return 1
        [ "$elapsed" -lt "$1" ] || has_output || return 2
        sleep 0.2
    done
    return 1
}

try() { # ACCELERATOR SILENCE
    accelerator=$1
    start_guest "$1"
    result=0
    await_rpc "$2" || result=$?
}

never=999999
case $ACCEL in
    auto)
        result=2
        if [ -w /dev/kvm ]; then
            try kvm "${KVM_SILENCE:-5}"
            # Nothing on the console, whether still running or ended: KVM is there but runs no guest.
            if [ "$result" -ne 0 ] && ! has_output; then
                echo "no guest output under KVM, trying TCG"
                stop_guest
                result=2
            fi
        fi
        [ "$result" -ne 2 ] || try tcg "$never"
        ;;
    *) try "$ACCEL" "$never" ;;
esac

if [ "$result" -eq 0 ]; then
    echo "boot: $boot, accelerator: $accelerator, seconds: $(($(now) - started))"
    echo "health: $health"
    echo "chain id: $chain_id"
    exit 0
fi
if ! has_output && ! guest_runs; then
    cat "$work/qemu.log" >&2
    echo "test-vm-boot: QEMU did not start" >&2
    exit 3
fi
echo "test-vm-boot: the RPC did not answer on port $port ($boot boot, $accelerator). The end of the console:" >&2
tail -n 40 "$work/serial" >&2
cat "$work/qemu.log" >&2
exit 1
