# shellcheck shell=bash
# Sourced by launch/demo/demo.sh and tests/run.sh. Creates their environment, or reports what the machine lacks.

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }

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

check_machine() { # PYTHON FOLDER
    local needed_mib=4000 free_mib # for torch's CPU build; the CUDA build needs three times as much
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail 'the venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv'
    mkdir -p "$2" 2>/dev/null || fail "cannot write to $2: clone the repository into a folder that you can write to"
    free_mib=$(df -Pm "$2" | awk 'NR == 2 { print $4 }')
    [ "$free_mib" -ge "$needed_mib" ] ||
        fail "$2 has $free_mib MiB free, and the environment needs $needed_mib: free some space"
}

# make_environment VENV EXTRA: install bertrain with that extra and the versions in constraints.txt. Does nothing if neither
# they nor the path of the checkout, to which the editable install points, have changed.
make_environment() {
    local venv=$1 extra=$2 fingerprint python pip
    fingerprint=$( (printf '%s\n' "$repository" && cat "$repository"/{pyproject.toml,configs/constraints.txt}) | cksum)
    if [ "$(cat "$venv/installed" 2>/dev/null || true)" = "$fingerprint" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    python=$(find_python)
    check_machine "$python" "$(dirname -- "$venv")"
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv" || fail "cannot create $venv: see above"
    pip=("$venv/bin/python" -m pip --disable-pip-version-check install -q -c "$repository/configs/constraints.txt")
    # Install the pinned torch first: a version range would select a newer build of several GB.
    "${pip[@]}" torch || fail 'pip could not install torch: see its message above'
    "${pip[@]}" -e "${repository}[$extra]" || fail 'pip could not install bertrain: see its message above'
    printf '%s' "$fingerprint" >"$venv/installed"
}
