#!/bin/sh
# Fetch the packages that materials.lock names, and accept nothing else.
#
#   fetch-materials.sh LOCK OUTPUT_DIRECTORY [MIRROR]
#
# MIRROR (or environment MIRROR) is the address of a Debian archive, below which lie the lock's paths (pool/...). The
# lock pins size and SHA-256 of each package, so that any mirror or snapshot will do and none needs to be trusted. A
# package goes to OUTPUT_DIRECTORY/GROUP/ for each of its groups. What is there already with the right digest stays.
#
# Needs: python3 >= 3.11 (reads the TOML of the lock), curl, sha256sum.
set -eu

fail() { echo "fetch-materials: $*" >&2; exit 1; }

[ $# -eq 2 ] || [ $# -eq 3 ] || fail "usage: fetch-materials.sh LOCK OUTPUT_DIRECTORY [MIRROR]"
lock=$1
output=$2
mirror=${3:-${MIRROR:-}}
[ -n "$mirror" ] || fail "name a mirror, as the third argument or in MIRROR"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# One line for each package and group. The lock is checked before its text becomes part of a path.
python3 - "$lock" >"$work/list" <<'PYTHON' || fail "cannot read $lock"
import re, sys, tomllib

try:
    with open(sys.argv[1], "rb") as file:
        packages = tomllib.load(file)["packages"]
    for package in packages:
        name, path, sha256, size = (package[key] for key in ("name", "path", "sha256", "size"))
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or type(size) is not int:
            sys.exit(f"fetch-materials: {name}: no SHA-256 or size")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~%:/-]*\.deb", path) or ".." in path.split("/"):
            sys.exit(f"fetch-materials: {name}: not a path in an archive: {path}")
        for group in package["groups"]:
            if not re.fullmatch(r"[a-z0-9-]+", group):
                sys.exit(f"fetch-materials: {name}: not a group's name: {group}")
            print(group, path, sha256, size)
except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
    sys.exit(f"fetch-materials: {sys.argv[1]}: {error!r}")
PYTHON

verified() { # FILE SHA256 SIZE
    [ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$3" ] && echo "$2  $1" | sha256sum --check --status
}

count=0
while read -r group path sha256 size; do
    mkdir -p "$output/$group"
    file="$output/$group/$(basename "$path")"
    if ! verified "$file" "$sha256" "$size"; then
        curl -fsSL --retry 3 --max-filesize "$size" -o "$work/package" "${mirror%/}/$path" ||
            fail "cannot fetch $path. An archive keeps current versions only: try a snapshot of it."
        verified "$work/package" "$sha256" "$size" || fail "$path is not the locked file"
        mv "$work/package" "$file"
    fi
    count=$((count + 1))
done <"$work/list"
[ "$count" -gt 0 ] || fail "$lock names no packages"
echo "$count packages"
