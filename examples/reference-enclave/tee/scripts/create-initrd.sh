#!/bin/sh
# Make the initial RAM disk with Katana in it.
#
#   create-initrd.sh KATANA BUSYBOX MODULES_DIRECTORY TREE OUTPUT
#
# KATANA and BUSYBOX are static binaries, MODULES_DIRECTORY comes from collect-modules.sh, TREE is made (the contents
# as files, which the disk image takes too), OUTPUT is the compressed archive. The same inputs give the same bytes,
# whoever runs it and on whatever file system. Needs no privileges.
#
# Needs: coreutils, find, gzip. Environment: SOURCE_DATE_EPOCH (required).
set -eu

fail() { echo "create-initrd: $*" >&2; exit 1; }

[ $# -eq 5 ] || fail "usage: create-initrd.sh KATANA BUSYBOX MODULES_DIRECTORY TREE OUTPUT"
katana=$1
busybox=$2
modules=$3
tree=$4
output=$5
: "${SOURCE_DATE_EPOCH:?create-initrd: SOURCE_DATE_EPOCH is not set}"
[ ! -e "$tree" ] || fail "$tree exists already"

LC_ALL=C
TZ=UTC
export LC_ALL TZ
umask 022
configs=$(cd "$(dirname "$0")/../configs" && pwd)

# --- the tree -------------------------------------------------------------------------------------------------------
# Every mode is set explicitly, so that none comes from a umask or a checkout.
install -d -m 0755 "$tree" "$tree/bin" "$tree/dev" "$tree/etc" "$tree/lib" "$tree/lib/modules" "$tree/proc" "$tree/sys"
install -d -m 1777 "$tree/tmp"
install -m 0755 "$katana" "$tree/bin/katana"
install -m 0755 "$busybox" "$tree/bin/busybox"
# What init needs, and what a person on the serial console needs to look around. A shell is no way in: nothing
# starts one after init.
for applet in cat dmesg insmod ip ls mkdir mknod mount ps sh sleep umount; do
    "$busybox" --list | grep -qx "$applet" || fail "$busybox has no applet $applet"
    ln -s busybox "$tree/bin/$applet"
done
install -m 0644 "$modules"/*.ko "$modules/load-order" "$tree/lib/modules"
printf 'root:x:0:0:root:/:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\n' >"$tree/etc/group"
chmod 0644 "$tree/etc/passwd" "$tree/etc/group"
install -m 0755 "$configs/init" "$tree/init"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# --- the archive ----------------------------------------------------------------------------------------------------
# The newc format is written here instead of by cpio: cpio copies the link count of a directory, which differs
# between file systems (2 + subdirectories on ext4, 1 on btrfs), and it takes device nodes only from a process that
# may make them. A header is thirteen fixed-width hexadecimal numbers after the magic.
inode=0
entry() { # NAME MODE LINKS SIZE DEVICE_MAJOR DEVICE_MINOR
    inode=$((inode + 1))
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
        "$inode" "$2" 0 0 "$3" "$mtime" "$4" 0 0 "$5" "$6" $((${#1} + 1)) 0 "$1"
    pad $((110 + ${#1} + 1))
}

# NULs up to a multiple of four.
pad() {
    case $(($1 % 4)) in
        1) printf '\0\0\0' ;;
        2) printf '\0\0' ;;
        3) printf '\0' ;;
    esac
}

archive() {
    mtime=$SOURCE_DATE_EPOCH
    # Sorted by bytes: a directory comes before what is in it. Names here have no newline.
    (cd "$tree" && find . -mindepth 1 -printf '%P\n') | sort | while read -r name; do
        path=$tree/$name
        if [ -L "$path" ]; then
            target=$(readlink "$path")
            entry "$name" 0120777 1 ${#target} 0 0
            printf '%s' "$target"
            pad ${#target}
        elif [ -d "$path" ]; then
            entry "$name" "004$(stat -c %04a "$path")" 2 0 0 0
        else
            size=$(stat -c %s "$path")
            entry "$name" "010$(stat -c %04a "$path")" 1 "$size" 0 0
            cat "$path"
            pad "$size"
        fi
        # $inode counts in this subshell; what follows the loop starts above any count.
    done
    inode=1000000
    entry dev/console 0020600 1 0 5 1
    entry dev/null 0020666 1 0 1 3
    mtime=0
    entry 'TRAILER!!!' 0 1 0 0 0
}

# gzip, although igzip is several times faster: this file is measured, and its bytes must not depend on the machine.
# igzip picks its code by the processor it runs on, and the choice shows (version 2.31.1): at level 3 its output
# differs with SSE4.2, AVX2 and AVX-512, at every level between processors with and without SSE4.2. GNU gzip has one
# path. -n leaves out name and time.
archive | gzip -n -9 >"$output"
