#!/bin/sh
# Collect kernel modules with everything they depend on, ready for insmod.
#
#   collect-modules.sh MODULES_DIRECTORY OUTPUT_DIRECTORY MODULE...
#
# MODULES_DIRECTORY is /lib/modules/VERSION of an unpacked kernel package. OUTPUT_DIRECTORY gets the modules,
# decompressed (insmod of a minimal system cannot read .ko.xz), and `load-order`: their file names, dependencies
# before dependents. The kernel package has no modules.dep (its installation makes it), so that the dependencies come
# from where depmod and modpost have them too: the modules themselves.
#
# Needs: find, modinfo (kmod), xz.
set -eu

fail() { echo "collect-modules: $*" >&2; exit 1; }

[ $# -ge 3 ] || fail "usage: collect-modules.sh MODULES_DIRECTORY OUTPUT_DIRECTORY MODULE..."
modules=$1
output=$2
shift 2
[ -f "$modules/modules.builtin" ] || fail "$modules/modules.builtin is missing: not a kernel's module directory"
mkdir -p "$output"
: >"$output/load-order"

# A module's name and its file's name may differ in - and _.
pattern() { printf '%s' "$1" | sed 's/[-_]/[-_]/g'; }

# Uses the positional parameters as its only variables: a POSIX shell function that calls itself has no others.
collect() { # NAME PATH_OF_NAMES_THAT_LED_HERE
    case " $2 " in *" $1 "*) fail "modules depend on each other:$2 $1" ;; esac
    set -- "$1" "$2" "$(find "$modules/kernel" -name "$(pattern "$1").ko*")"
    if [ -z "$3" ]; then
        grep -q "/$(pattern "$1")\.ko\$" "$modules/modules.builtin" || fail "no module $1 in $modules"
        return 0
    fi
    [ -f "$3" ] || fail "want one file for module $1, got: $3"
    set -- "$1" "$2" "$3" "$(basename "$3" .xz)"
    if grep -qxF "$4" "$output/load-order"; then
        return 0
    fi
    case $3 in
        *.ko.xz) xz -d -c "$3" >"$output/$4" ;;
        *.ko) cat "$3" >"$output/$4" ;;
        *) fail "$3 is compressed in a way this script does not know" ;;
    esac
    for dependency in $(modinfo -F depends "$output/$4" | tr ',' ' '); do
        collect "$dependency" "$2 $1"
    done
    echo "$4" >>"$output/load-order"
}

for module in "$@"; do
    collect "$module" ""
done
