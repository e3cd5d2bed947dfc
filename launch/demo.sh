#!/usr/bin/env bash
# The whole story in one command: raw Wikipedia text to a pretrained, evaluated BERT, then killed and brought back.
#
#     bash launch/demo.sh
#
# Makes an environment under .demo/, installs bertrain from this checkout, takes its text from a package on PyPI, and
# plays two acts. Run it again and it goes faster: what is installed and prepared stays. Remove .demo/ to start afresh.
set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
demo=$repository/.demo
started=$SECONDS

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }
act() { printf '\n\033[1m── %s ── %d s\033[0m\n\n' "$1" "$((SECONDS - started))"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; "$@"; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
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
    mkdir -p "$demo" 2>/dev/null || fail "cannot write to $demo: clone the repository to a folder of yours"
    local free_mib
    free_mib=$(df -Pm "$demo" | awk 'NR == 2 { print $4 }')
    [ -x "$demo/venv/bin/bertrain" ] || [ "$free_mib" -ge 4000 ] ||
        fail "$demo has $free_mib MiB free, and the environment needs 4000: free some space"
}

install() {
    local wanted
    wanted=$(cat "$repository/pyproject.toml" "$repository/configs/constraints.txt" | cksum)
    if [ "$(cat "$demo/venv/installed" 2>/dev/null || true)" != "$wanted" ]; then
        "$python" -m venv "$demo/venv"
        local pip=("$demo/venv/bin/python" -m pip --disable-pip-version-check install -q
            -c "$repository/configs/constraints.txt")
        # torch first and pinned: a range would take a newer build of several GB.
        "${pip[@]}" torch || fail 'pip could not install torch: see its message above'
        "${pip[@]}" -e "${repository}[demo]" || fail 'pip could not install bertrain: see its message above'
        printf '%s' "$wanted" >"$demo/venv/installed"
    fi
    export PATH="$demo/venv/bin:$PATH"
}

# A real Wikipedia dump fragment travels inside gensim's wheel. Only that file is taken: any platform's wheel will do.
fetch_corpus() {
    local name=enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2
    [ -f "corpus/$name" ] && return
    python -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --python-version 3.12 \
        --implementation cp --platform manylinux_2_28_x86_64 --dest download gensim==4.4.0 ||
        fail 'pip could not download gensim 4.4.0, which carries the text: see its message above'
    mkdir -p corpus
    python - download/gensim-4.4.0-*.whl "gensim/test/test_data/$name" "corpus/$name" <<'PYTHON'
import sys, zipfile
from pathlib import Path
from configs.files import atomic_write
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, atomic_write(Path(target)) as stream:
    stream.write(archive.read(member))
PYTHON
    rm -r download
}

python=$(find_python)
check_machine
act 'Install'
install
cd "$demo"
fetch_corpus
rm -rf runs

act 'Prepare: a Wikipedia dump to masked sentence pairs'
show bertrain prepare demo
show bertrain inspect datasets/demo --rows 2

act 'Act 1, Pretrain: two ranks, ZeRO, bf16'
show bertrain train demo
show bertrain plot runs/demo

act 'Act 2, Survive: a rank is killed, the run comes back, and goes on with one rank instead of two'
show python -m launch.survive demo --beside runs/demo

act 'The end'
show bertrain evaluate runs/demo
cat <<END

What it wrote, under $demo:
    datasets/demo    the data set: manifest.json, vocab.txt, shards/*.arrow    bertrain inspect datasets/demo
    runs/demo        the run: recipe.toml, metrics.jsonl, tb/, checkpoints/, logs/
    runs/survive     the run that was killed and brought back
The curves in a browser:  cd $demo && venv/bin/bertrain tensorboard runs/demo runs/survive
END
printf '\nThe demo took %d s.\n' "$((SECONDS - started))"
