#!/bin/sh
# Build the image that every build stage starts from, out of locked .deb files.
#
#   make-base-image.sh DEB_DIRECTORY IMAGE_NAME
#
# The image is the union of the packages' data archives, nothing else: no maintainer script runs, so there is no
# ldconfig cache, no alternatives link and no machine-id, and nothing in it depends on the machine that built it.
# The tree is the same on every machine; the image id is not (an engine puts the time of import into it), so compare
# files, never image ids.
#
# Needs: dpkg-deb, GNU tar, sha256sum, docker. Environment: SOURCE_DATE_EPOCH (required), DOCKER.
set -eu

fail() { echo "make-base-image: $*" >&2; exit 1; }

[ $# -eq 2 ] || fail "usage: make-base-image.sh DEB_DIRECTORY IMAGE_NAME"
debs=$1
image=$2
: "${SOURCE_DATE_EPOCH:?make-base-image: SOURCE_DATE_EPOCH is not set}"
docker=${DOCKER:-docker}

LC_ALL=C.UTF-8
TZ=UTC
export LC_ALL TZ
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
tree=$work/tree
mkdir "$tree"

# base-files goes first: it brings the links /bin -> usr/bin and so on, through which older paths of later packages
# must be unpacked (hence --keep-directory-symlink). A glob is sorted, and LC_ALL fixes by what rule.
unpack() {
    dpkg-deb --fsys-tarfile "$1" |
        tar -x -p -f - -C "$tree" --keep-directory-symlink --no-same-owner --warning=no-timestamp
}
first=$(find "$debs" -maxdepth 1 -name 'base-files_*.deb')
[ -f "$first" ] || fail "want exactly one base-files package in $debs"
unpack "$first"
for deb in "$debs"/*.deb; do
    [ "$deb" = "$first" ] || unpack "$deb"
done

# The packages leave these two to maintainer scripts.
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >"$tree/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"

tar -c -f "$work/base.tar" -C "$tree" --format=gnu --sort=name --numeric-owner --owner=0 --group=0 \
    --mtime="@$SOURCE_DATE_EPOCH" .
sha256sum <"$work/base.tar" | sed 's/ .*/  base.tar/'
"$docker" import --change 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8 LC_ALL=C.UTF-8 TZ=UTC' --change 'CMD ["/bin/sh"]' "$work/base.tar" "$image"
