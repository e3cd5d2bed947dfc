#!/usr/bin/env bash
# Everything that must hold before a change lands: lint, format, types, import contracts, tests.
#
#     bash tests/run.sh [--all] [pytest arguments]
#
# Makes an environment under .venv/ and installs into it what pyproject.toml and configs/constraints.txt say; run again,
# it installs only when one of them has changed. Without --all the tests that take minutes are left out.
set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv
needed_mib=4000 # with torch's CPU build; its CUDA build takes three times as much

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }
step() { printf '\n== %s\n' "$1"; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail 'Python 3.11 or newer is missing. On Debian or Ubuntu: sudo apt-get install python3 python3-venv'
}

check_machine() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail 'the venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv'
    local free_mib
    free_mib=$(df -Pm "$repository" | awk 'NR == 2 { print $4 }')
    [ "$free_mib" -ge "$needed_mib" ] ||
        fail "$repository has $free_mib MiB free, and the environment needs $needed_mib: free some space"
}

# What the environment hangs on. The checkout's place is part of it: the editable install points there.
wanted() { (printf '%s\n' "$repository"; cat pyproject.toml configs/constraints.txt) | cksum; }

install() {
    if [ "$(cat "$venv/installed" 2>/dev/null || true)" = "$(wanted)" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    step 'install'
    python=$(find_python)
    check_machine
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv" || fail "cannot make $venv: see above"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install -q -c configs/constraints.txt)
    # torch first and pinned: a range would take a newer build of several GB.
    "${pip[@]}" torch || fail 'pip could not install torch: see its message above'
    "${pip[@]}" -e '.[dev]' || fail 'pip could not install bertrain: see its message above'
    wanted >"$venv/installed"
}

cd -- "$repository"
selection=(-m 'not slow')
if [ "${1:-}" = --all ]; then
    selection=()
    shift
fi

install

step 'ruff';          "$venv/bin/python" -m ruff check .
step 'ruff format';   "$venv/bin/python" -m ruff format --check .
step 'mypy';          "$venv/bin/python" -m mypy
step 'import-linter'; "$venv/bin/lint-imports"
step 'pytest';        "$venv/bin/python" -m pytest "${selection[@]}" "$@"
