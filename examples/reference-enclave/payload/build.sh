#!/bin/sh
# Compile the payload to one static binary: build.sh OUTPUT
# Environment: CC (default musl-gcc), REALGCC (the compiler that musl-gcc drives).
set -eu

[ $# -eq 1 ] || { echo "usage: build.sh OUTPUT" >&2; exit 2; }
output=$1
source=$(cd "$(dirname "$0")" && pwd)
version=$(cat "$source/VERSION")

# Nothing of the place where it was built may reach the binary: -ffile-prefix-map takes the directory out, and
# --build-id=none takes out an id that depends on linker internals. _FORTIFY_SOURCE has no effect with musl.
exec "${CC:-musl-gcc}" -std=c17 -O2 -static -s \
    -Wall -Wextra -Werror -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
    -fstack-protector-strong -ffile-prefix-map="$source=." -Wl,--build-id=none -Wl,-z,noexecstack \
    -D_GNU_SOURCE "-DKATANA_VERSION=\"$version\"" \
    -o "$output" "$source/main.c" "$source/http.c" "$source/rpc.c" "$source/json.c"
