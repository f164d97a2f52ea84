#!/bin/sh
# Make the bootable disk image: GPT, EFI system partition with systemd-boot, ext4 root.
#
#   build-vm-image.sh KERNEL INITRD CMDLINE_FILE BOOT_LOADER ROOT_TREE OUTPUT
#
# BOOT_LOADER is systemd-boot's EFI binary, ROOT_TREE the directory that fills the root partition (the kernel and the
# initrd are added to its /boot). OUTPUT is a sparse file of 2 GiB. All file systems are written straight into it, at
# their offset: no loop device, no mount, no privileges. The same inputs give the same bytes.
#
# Needs: coreutils, find, sed, sgdisk, mkfs.vfat, mtools, e2fsprogs >= 1.47.1. Environment: SOURCE_DATE_EPOCH.
set -eu

fail() { echo "build-vm-image: $*" >&2; exit 1; }

[ $# -eq 6 ] || fail "usage: build-vm-image.sh KERNEL INITRD CMDLINE_FILE BOOT_LOADER ROOT_TREE OUTPUT"
kernel=$1
initrd=$2
cmdline=$3
loader=$4
root_tree=$5
output=$6
: "${SOURCE_DATE_EPOCH:?build-vm-image: SOURCE_DATE_EPOCH is not set}"
# FAT has no earlier time, and mtools would quietly write another one.
[ "$SOURCE_DATE_EPOCH" -ge 315532800 ] || fail "SOURCE_DATE_EPOCH $SOURCE_DATE_EPOCH is before 1980"

LC_ALL=C
TZ=UTC
# mtools takes its clock from SOURCE_DATE_EPOCH, e2fsprogs from E2FSPROGS_FAKE_TIME; no personal configuration.
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
MTOOLSRC=/dev/null
MTOOLS_SKIP_CHECK=1
export LC_ALL TZ SOURCE_DATE_EPOCH E2FSPROGS_FAKE_TIME MTOOLSRC MTOOLS_SKIP_CHECK
umask 022

# Chosen once, at random. They identify this image's layout, not one disk: every build has the same.
disk_guid=6D1C7E0F-3B52-4A5C-9E0B-7B1F0A6B2D11
esp_guid=1F4C3A52-90D7-4C61-8F2E-5A9D3C7E4B22
root_guid=B83F5D16-2C47-4E9A-A1D0-64E8F92C7A33
root_fs_uuid=4e7a9c21-5d83-4f06-b2c9-1a6f8e3d5b44
root_hash_seed=9c2e6b70-1f4d-4a83-8e57-d3b0a5c81f55
esp_serial=7EE05050

mib=1048576
disk_mib=2048
esp_start_mib=1
esp_mib=256
root_start_mib=$((esp_start_mib + esp_mib))
root_mib=$((disk_mib - root_start_mib - 1)) # the last MiB holds the second partition table
root_image="$output?offset=$((root_start_mib * mib))"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- partitions -----------------------------------------------------------------------------------------------------
rm -f "$output"
truncate -s "${disk_mib}M" "$output"
sgdisk --clear --disk-guid="$disk_guid" \
    --new="1:${esp_start_mib}M:+${esp_mib}M" --typecode=1:ef00 --partition-guid="1:$esp_guid" --change-name=1:ESP \
    --new="2:${root_start_mib}M:+${root_mib}M" --typecode=2:8304 --partition-guid="2:$root_guid" --change-name=2:root \
    "$output" >"$work/sgdisk.log" || { cat "$work/sgdisk.log" >&2; fail "sgdisk failed"; }

# --- EFI system partition -------------------------------------------------------------------------------------------
# -i after --invariant, which has a serial number of its own.
mkfs.vfat -F 32 -s 1 -n ESP --invariant -i "$esp_serial" --offset=$((esp_start_mib * mib / 512)) \
    "$output" $((esp_mib * 1024)) >"$work/mkfs.log" 2>&1 || { cat "$work/mkfs.log" >&2; fail "mkfs.vfat failed"; }

options=$(cat "$cmdline")
printf 'default katana.conf\ntimeout 0\neditor no\n' >"$work/loader.conf"
printf 'title Katana\nlinux /katana/vmlinuz\ninitrd /katana/initrd.img\noptions %s\n' "$options" >"$work/katana.conf"

# The order of these lines is the order of entries and clusters in the image.
esp="$output@@${esp_start_mib}M"
mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/systemd ::/loader ::/loader/entries ::/katana
mcopy -i "$esp" "$loader" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$loader" ::/EFI/systemd/systemd-bootx64.efi
mcopy -i "$esp" "$work/loader.conf" ::/loader/loader.conf
mcopy -i "$esp" "$work/katana.conf" ::/loader/entries/katana.conf
mcopy -i "$esp" "$kernel" ::/katana/vmlinuz
mcopy -i "$esp" "$initrd" ::/katana/initrd.img

# --- root -----------------------------------------------------------------------------------------------------------
# The machine runs from the initrd, which init never leaves. This file system holds the same tree, with the kernel
# and the initrd in /boot, for those who look into the image. It is marked read-only and has no journal.
cp -R -P -p "$root_tree" "$work/root"
install -d -m 0755 "$work/root/boot"
install -m 0644 "$kernel" "$work/root/boot/vmlinuz"
install -m 0644 "$initrd" "$work/root/boot/initrd.img"
install -m 0644 "$cmdline" "$work/root/boot/cmdline.txt"

# An own MKE2FS_CONFIG: features and sizes come from these lines only. no_copy_xattrs: a build host with SELinux labels
# every file.
printf '[fs_types]\n\text4 = {\n\t}\n' >"$work/mke2fs.conf"
MKE2FS_CONFIG="$work/mke2fs.conf" mke2fs -q -F -t ext4 -b 4096 -I 256 -N 1024 -m 0 -L root -M / -U "$root_fs_uuid" \
    -O none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
    -E "offset=$((root_start_mib * mib)),hash_seed=$root_hash_seed,root_owner=0:0,nodiscard,no_copy_xattrs,lazy_itable_init=1" \
    -d "$work/root" "$output" $((root_mib * 1024))k >"$work/mke2fs.log" 2>&1 || { cat "$work/mke2fs.log" >&2; fail "mke2fs failed"; }

# mke2fs -d copies owner and times from the files it reads, and nobody can set a file's change time. Write every
# field that tells of the build host, then mark the file system read-only and clean.
(cd "$work/root" && find . -printf '/%P\n') | sort | while read -r path; do
    for field in uid gid; do
        echo "set_inode_field \"$path\" $field 0"
    done
    for field in atime ctime mtime crtime; do
        echo "set_inode_field \"$path\" $field @$SOURCE_DATE_EPOCH"
        echo "set_inode_field \"$path\" ${field}_extra 0"
    done
done >"$work/debugfs.commands"
debugfs -w -f "$work/debugfs.commands" "$root_image" >"$work/debugfs.log" 2>&1 || { cat "$work/debugfs.log" >&2; fail "debugfs failed"; }
# debugfs ends with 0 even when a command failed; what is not an echo of a command or its banner is a failure.
if grep -v -e '^debugfs: set_inode_field ' -e '^debugfs [0-9]' "$work/debugfs.log" >&2; then
    fail "debugfs refused a command"
fi
tune2fs -O read-only "$root_image" >/dev/null
