#!/usr/bin/env bash
# Everything that a GPU should answer, in one call of under nine minutes and without network:
#
#     bash tests/benchmarks/gpu.sh OUTPUT_FOLDER
#
# OUTPUT_FOLDER/results.jsonl has one JSON object a section ({"section", "exit_code", "seconds", and the benchmark's own
# figures}), OUTPUT_FOLDER/SECTION.log what each said. A section that fails or runs out of time does not stop the next.
# Without a GPU the same sections run small, in Triton's interpreter where it takes a GPU: so it is known to work.
#
# A GPU machine may have torch and Triton and nothing else of ours. What the tests need besides can be brought along:
#     pip install --target build/gpu_packages pytest hypothesis        (5 MB; PYTHON names another interpreter)
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: bash tests/benchmarks/gpu.sh OUTPUT_FOLDER" >&2; exit 2; }
mkdir -p "$1" && output=$(cd "$1" && pwd) || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

python=${PYTHON:-python3}
export PYTHONPATH=$PWD:$PWD/build/gpu_packages${PYTHONPATH:+:$PYTHONPATH}
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Compiled kernels on a disk of this machine: a shared one corrupts them, and they are no result.
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
export TRITON_CACHE_DIR=$scratch/triton TORCHINDUCTOR_CACHE_DIR=$scratch/inductor
budget_s=530
results=$output/results.jsonl
: >"$results"

has_gpu() { "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; }
module_exists() { [ -f "tests/benchmarks/$1.py" ]; }

# section NAME LIMIT_S COMMAND...: runs it within its limit and what is left of the budget, and writes its result.
section() {
  local name=$1 limit=$2 began=$SECONDS code=0
  shift 2
  local left=$((budget_s - SECONDS))
  if [ "$left" -lt 5 ]; then
    code=124
    echo "no time left" >"$output/$name.log"
  else
    echo "== $name"
    timeout --kill-after=5 $((limit < left ? limit : left)) "$@" >"$output/$name.log" 2>&1 || code=$?
    tail -n 3 "$output/$name.log" | cut -c 1-200
  fi
  "$python" - "$name" "$code" $((SECONDS - began)) "$output/$name.log" <<'PYTHON' >>"$results"
import json
import sys

name, code, seconds, log = sys.argv[1:]
result = {"section": name, "exit_code": int(code), "seconds": int(seconds)}
with open(log, encoding="utf-8", errors="replace") as lines:
    objects = [line for line in lines if line.startswith("{") and line.rstrip().endswith("}")]
try:
    result |= json.loads(objects[-1]) if objects else {}
except ValueError as error:
    result["unreadable"] = str(error)
print(json.dumps(result))
PYTHON
}

read -r -d '' environment <<'PYTHON'
import importlib.metadata
import json
import platform

import torch

installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
wanted = ("torch", "triton", "transformers", "deepspeed", "flash-attn", "liger-kernel", "numpy")
found = {"python": platform.python_version(), "versions": {name: installed.get(name) for name in wanted}}
if torch.cuda.is_available():
    device = torch.cuda.get_device_properties(0)
    found |= {"gpu": device.name, "memory_gib": device.total_memory / 2**30, "multiprocessors": device.multi_processor_count}
print(json.dumps(found))
PYTHON

# The project's own pytest configuration asks for plugins that a GPU machine may not have.
tests=tests/pretrain/kernels
pytest=("$python" -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=. --confcutdir="$tests")

section environment 60 "$python" -c "$environment"
section kernels_compiled 60 "$python" -m tests.pretrain.kernels.hopper
if has_gpu; then
  section kernel_tests 150 "${pytest[@]}" "$tests/fused"
  section kernels 140 "$python" -m tests.benchmarks.kernels
else
  export OMP_NUM_THREADS=1 # a machine without a GPU may be shared, and threads that wait for one another spoil every figure
  section kernel_tests 240 "${pytest[@]}" "$tests"
  section kernels 200 "$python" -m tests.benchmarks.kernels --rounds 2 --only add_norm bias_gelu attend adamw
fi

# The whole step beside transformers, as soon as there is a benchmark of it.
if module_exists train_step; then
  has_gpu && models=(mini base large) || models=(mini)
  for model in "${models[@]}"; do
    section "train_step_$model" 90 "$python" -m tests.benchmarks.train_step --model "$model"
  done
fi

# A short real pretraining with its held-out loss over time, as soon as there is one that needs no network.
if module_exists pretraining; then
  section pretraining 120 "$python" -m tests.benchmarks.pretraining
fi

# What is left of the time: other launch shapes of our kernels, one JSON line each in sweep.log.
if has_gpu; then
  section sweep 120 "$python" -m tests.benchmarks.kernels --sweep --rounds 7
fi

echo "== $results"
cut -c 1-160 "$results"
! grep -qv '"exit_code": 0' "$results"
