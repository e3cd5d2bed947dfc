#!/usr/bin/env bash
# Build the documentation and serve it on http://127.0.0.1:8000, rebuilt after each change of a page.
#
#     bash tests/docs.sh [options of `mkdocs serve`]
#
# Uses the environment of tests/run.sh, which it makes where it is missing.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/../launch/environment.sh"
make_environment "$repository/.venv" dev
export NO_MKDOCS_2_WARNING=1
exec "$repository/.venv/bin/python" -m mkdocs serve --strict -f "$repository/launch/mkdocs.yml" "$@"
