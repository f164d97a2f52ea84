#!/bin/sh
# Calculate the SEV-SNP launch measurement that a host should report for these files.
#
#   calculate-measurement.sh OVMF KERNEL INITRD CMDLINE VCPUS VCPU_TYPE
#
# Writes expected-measurement.txt (96 hexadecimal digits and a newline) and expected-measurement.json to the current
# directory. CMDLINE is the text itself, not a file.
#
# What the measurement covers depends on the firmware:
#   direct_kernel  the firmware has an SNP_KERNEL_HASHES section: it covers firmware, kernel, initrd and command line;
#   uefi_disk      the firmware has none: it covers the firmware ONLY. This fallback is taken for that one reason;
#                  the script says so on stderr and in the file's notes. Every other problem is an error.
# Firmware without SEV metadata is refused: a digest could be computed for it, but no SNP guest boots from it.
#
# Needs: python3, sev-snp-measure (environment SEV_SNP_MEASURE names another command). Exit codes: 0 written,
# 1 cannot be calculated, 2 wrong arguments. On failure neither file is left behind.
set -eu

fail() { echo "calculate-measurement: $*" >&2; exit 1; }

if [ $# -ne 6 ]; then
    echo "usage: calculate-measurement.sh OVMF KERNEL INITRD CMDLINE VCPUS VCPU_TYPE" >&2
    exit 2
fi
ovmf=$1
kernel=$2
initrd=$3
cmdline=$4
vcpus=$5
vcpu_type=$6
measure=${SEV_SNP_MEASURE:-sev-snp-measure}

rm -f expected-measurement.txt expected-measurement.json
for file in "$ovmf" "$kernel" "$initrd"; do
    { [ -f "$file" ] && [ -r "$file" ]; } || fail "cannot read $file"
done
case $vcpus in
    '' | 0* | *[!0-9]*) fail "VCPUS is not a positive number: $vcpus" ;;
esac
command -v "$measure" >/dev/null || fail "$measure is not installed (pipx install sev-snp-measure)"

# The firmware's own table decides the mode, not the wording of some error message. The table ends 32 bytes before
# the end of the file and is read backwards: data, 16-bit length, GUID.
mode=$(python3 - "$ovmf" <<'PYTHON'
import struct, sys, uuid

TABLE = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
METADATA = uuid.UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le
SNP_KERNEL_HASHES = 0x10

firmware = open(sys.argv[1], "rb").read()


def entry(end):
    """Length and GUID of the table entry that ends at this offset; the length counts its own 18 bytes."""
    if end < 18:
        sys.exit("calculate-measurement: the firmware's table is damaged")
    length, = struct.unpack_from("<H", firmware, end - 18)
    return length, firmware[end - 16:end]


end = len(firmware) - 32
if end < 18 or entry(end)[1] != TABLE:
    sys.exit("calculate-measurement: not an OVMF firmware with a GUIDed table: " + sys.argv[1])
start = end - entry(end)[0]
end -= 18
while end > start:
    length, guid = entry(end)
    if length < 18 or end - length < start:
        sys.exit("calculate-measurement: the firmware's table is damaged")
    if guid == METADATA and length >= 22:
        offset = len(firmware) - struct.unpack_from("<I", firmware, end - length)[0]
        break
    end -= length
else:
    sys.exit("calculate-measurement: the firmware has no SEV metadata, no SNP guest boots from it: " + sys.argv[1])
try:
    signature, size, version, count = struct.unpack_from("<4sIII", firmware, offset)
    types = [struct.unpack_from("<III", firmware, offset + 16 + 12 * i)[2] for i in range(count)] if count < 256 else []
except struct.error:
    signature, types = b"", []
if signature != b"ASEV" or not types:
    sys.exit("calculate-measurement: the firmware's SEV metadata is damaged: " + sys.argv[1])
print("direct_kernel" if SNP_KERNEL_HASHES in types else "uefi_disk")
PYTHON
) || exit 1

set -- --mode snp --vmm-type QEMU --guest-features 0x1 --vcpus "$vcpus" --vcpu-type "$vcpu_type" --ovmf "$ovmf"
if [ "$mode" = direct_kernel ]; then
    set -- "$@" --kernel "$kernel" --initrd "$initrd" --append "$cmdline"
    notes="Direct kernel boot: the measurement covers firmware, kernel, initrd and kernel command line. It does not cover disk.raw, the guest policy or the debug bit."
else
    notes="WARNING: UEFI-only measurement. This firmware has no SNP_KERNEL_HASHES section: kernel, initrd and command line are NOT covered. Another kernel, initrd or command line gives the same measurement."
    echo "calculate-measurement: $notes" >&2
fi
measurement=$("$measure" "$@") || fail "$measure failed"
printf '%s\n' "$measurement" | grep -Eqx '[0-9a-f]{96}' || fail "$measure printed no launch measurement: $measurement"
[ "$(printf '%s\n' "$measurement" | wc -l)" -eq 1 ] || fail "$measure printed more than a launch measurement"

python3 - "$measurement" "$mode" "$ovmf" "$kernel" "$initrd" "$cmdline" "$vcpus" "$vcpu_type" "$notes" \
    >expected-measurement.json.new <<'PYTHON'
import json, sys

measurement, mode, ovmf, kernel, initrd, cmdline, vcpus, vcpu_type, notes = sys.argv[1:]
components = {"ovmf": ovmf}
if mode == "direct_kernel":
    components.update(kernel=kernel, initrd=initrd, cmdline=cmdline)
document = {
    "measurement": measurement,
    "boot_mode": mode,
    "components": components,
    "vm_config": {"vcpus": int(vcpus), "vcpu_type": vcpu_type},
    "notes": notes,
}
print(json.dumps(document, indent=2))
PYTHON
mv expected-measurement.json.new expected-measurement.json
printf '%s\n' "$measurement" >expected-measurement.txt
echo "$mode $measurement"
