#!/usr/bin/env bash
# The whole story in one command: raw Wikipedia text to a pretrained, evaluated BERT, then killed and brought back.
#
#     bash launch/demo.sh
#
# Makes an environment under .demo/, installs bertrain from this checkout, takes its text from a package on PyPI, and
# plays two acts. Run it again and it goes faster: what is installed and prepared stays. Remove .demo/ to start afresh.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
demo=$repository/.demo
started=$SECONDS

act() { printf '\n\033[1m── %s ── %d s\033[0m\n\n' "$1" "$((SECONDS - started))"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; "$@"; }

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

act 'Install'
make_environment "$demo/venv" demo
export PATH="$demo/venv/bin:$PATH"
cd "$demo"
fetch_corpus
rm -rf runs

act 'Prepare: a Wikipedia dump to masked sentence pairs'
show bertrain prepare demo
show bertrain inspect datasets/demo --rows 2

if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    ranks=(cluster.ranks_per_node=0) # one a GPU
    undisturbed=()                   # the second act is played on the CPU, where it is exact to the last bit
else
    ranks=()
    undisturbed=(--beside runs/demo)
fi

act 'Act 1, Pretrain: ZeRO, bf16, two ranks (or one a GPU)'
show bertrain train demo "${ranks[@]}"
show bertrain plot runs/demo

act 'Act 2, Survive: a rank is killed, the run comes back, and goes on with one rank instead of two'
show python -m launch.survive demo "${undisturbed[@]}"

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
