#!/usr/bin/env bash
# Everything that must hold before a change lands: lint, format, types, import contracts, tests.
#
#     bash tests/run.sh [--all] [pytest arguments]
#
# Makes an environment under .venv/ and installs into it what pyproject.toml and configs/constraints.txt say; run again,
# it installs only when one of them has changed. Without --all the tests that take minutes are left out. A worker a core
# takes whole files, so that what a file's tests share is made once; `-n 0` runs them one after another.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/../launch/environment.sh"
venv=$repository/.venv

step() { printf '\n== %s\n' "$1"; }

cd -- "$repository"
selection=(-m 'not slow')
if [ "${1:-}" = --all ]; then
    selection=()
    shift
fi

step 'environment';   make_environment "$venv" dev

step 'ruff';          "$venv/bin/python" -m ruff check .
step 'ruff format';   "$venv/bin/python" -m ruff format --check .
step 'mypy';          "$venv/bin/python" -m mypy
step 'import-linter'; "$venv/bin/lint-imports"
step 'pytest';        OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -n logical --maxprocesses 8 --dist loadfile --hypothesis-profile=fixed "${selection[@]}" "$@"
