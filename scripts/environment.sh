# shellcheck shell=bash
# Sourced by setup and lock, in the clone's root: how to come by Python and uv.

fail() { printf '%s: %s\n' "${0##*/}" "$1" >&2; exit 1; }

# What a log has to say, for an error of one line: its first line that calls itself an error, else its last.
last_words() {
    { grep -m 1 -iE '^ *(E:|error)' "$1" || grep -v '^[[:space:]]*$' "$1" | tail -n 1; } 2>/dev/null \
        | sed 's/^ *//' | cut -c 1-300
}

# The certificates that this machine trusts, as apt and git do, not only those that uv brings.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}

# A HOME that cannot be written to (or none) must not stop uv: it then keeps what it fetches in the clone.
if [ ! -d "${HOME:-}" ] || [ ! -w "$HOME" ]; then
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$PWD/var/uv/cache}
    export UV_PYTHON_INSTALL_DIR=${UV_PYTHON_INSTALL_DIR:-$PWD/var/uv/python}
fi

# The path of a released Python >= 3.13 behind a name; asking it also sees through pyenv's shims.
new_enough() {
    "$1" -c 'import sys
if sys.version_info < (3, 13) or sys.version_info.releaselevel != "final": sys.exit(1)
print(sys.executable)' 2>/dev/null
}

# Prints nothing where there is none. The lock is resolved for 3.13, so that is preferred.
installed_python() {
    local candidate
    for candidate in python3.13 \
        "${PYENV_ROOT:-/nonexistent}"/versions/3.13*/bin/python \
        "${HOME:-/nonexistent}"/.pyenv/versions/3.13*/bin/python \
        /root/.pyenv/versions/3.13*/bin/python \
        python3.14 python3 \
        "${PYENV_ROOT:-/nonexistent}"/versions/3.1[4-9]*/bin/python \
        "${HOME:-/nonexistent}"/.pyenv/versions/3.1[4-9]*/bin/python \
        /root/.pyenv/versions/3.1[4-9]*/bin/python; do
        if new_enough "$candidate"; then return; fi
    done
}

# uv from PATH, else the pinned one in var/tools, made with the Python given (any Python 3 does).
find_uv() {
    local host=$1 log=var/log/uv.log
    if uv --version >/dev/null 2>&1; then command -v uv; return; fi
    if ! cmp -s scripts/uv.lock var/tools/.installed || ! var/tools/bin/uv --version >/dev/null 2>&1; then
        mkdir -p var/log
        rm -rf var/tools
        "$host" -m venv var/tools >"$log" 2>&1 || fail "$host cannot make a virtual environment: $(last_words "$log")"
        var/tools/bin/python -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
            --require-hashes --requirement scripts/uv.lock >"$log" 2>&1 \
            || fail "uv could not be installed from the package index: $(last_words "$log") (log: $log)"
        cp scripts/uv.lock var/tools/.installed
    fi
    echo "$PWD/var/tools/bin/uv"
}

# A Python >= 3.13: one that is there, one that uv keeps, or one that uv fetches.
find_python() {
    local uv=$1 log=var/log/uv-python.log found
    found=$(installed_python)
    [ -n "$found" ] || found=$("$uv" python find --managed-python '>=3.13' 2>/dev/null) || true
    if [ -z "$found" ]; then
        mkdir -p var/log
        echo "fetching Python 3.13" >&2
        "$uv" python install 3.13 >"$log" 2>&1 \
            || fail "no Python >= 3.13 on PATH or in pyenv, and uv cannot fetch one: $(last_words "$log") (log: $log)"
        found=$("$uv" python find --managed-python '>=3.13') || fail "uv does not find the Python it fetched"
    fi
    echo "$found"
}
