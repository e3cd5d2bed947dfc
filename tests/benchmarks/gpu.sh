#!/usr/bin/env bash
# Run all benchmarks that need a GPU, in one call of under nine minutes and without a network:
#
#     bash tests/benchmarks/gpu.sh OUTPUT_FOLDER [DATASET_OF_128_TOKENS [DATASET_OF_512_TOKENS]]
#
# OUTPUT_FOLDER/results.jsonl has one JSON object per section ({"section", "exit_code", "seconds", and the benchmark's
# figures}), OUTPUT_FOLDER/SECTION.log has each section's output, and pretraining.png plots the two held-out curves. If a
# section fails or times out, the next one still runs. The most important sections run first. Run again with the same
# folder, the script does the remaining sections. Data sets are folders that `bertrain prepare` made; without them, rows
# are synthetic.
#
# Without a GPU the same sections run with small shapes, the kernels in Triton's interpreter, to test this script.
# Packages that the machine lacks can be provided as wheels in build/gpu_wheels (see README.md in this folder). PYTHON
# names another interpreter.
set -uo pipefail
[ $# -ge 1 ] && [ $# -le 3 ] || { sed -n 4p "$0" >&2; exit 2; }
mkdir -p "$1" && output=$(cd "$1" && pwd) || exit 2
rows_128=() rows_512=(--length 512)
[ -n "${2:-}" ] && rows_128=(--dataset "$(cd "$2" && pwd)")
[ -n "${3:-}" ] && rows_512=(--dataset "$(cd "$3" && pwd)")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

python=${PYTHON:-python3}
# Wheels and compiled kernels are on a local disk, because a shared one can corrupt kernels, and neither is a result.
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
export PYTHONPATH=$PWD:$scratch/site${PYTHONPATH:+:$PYTHONPATH}
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export TRITON_CACHE_DIR=$scratch/triton TORCHINDUCTOR_CACHE_DIR=$scratch/inductor NUMBA_CACHE_DIR=$scratch/numba
budget_s=530
results=$output/results.jsonl
touch "$results"

if [ -d build/gpu_wheels ]; then
  "$python" -m pip install -q --no-index --no-deps --target "$scratch/site" build/gpu_wheels/*.whl >&2 || exit 1
fi
gpu=$("$python" -c 'import torch; print(1 if torch.cuda.is_available() else "")') || exit 1

# section NAME LIMIT_S COMMAND...: run it within its limit and the remaining budget, and write its result.
section() {
  local name=$1 limit=$2 began=$SECONDS code=0
  shift 2
  grep -q "^{\"section\": \"$name\", \"exit_code\": 0" "$results" && return
  local left=$((budget_s - SECONDS))
  if [ "$left" -lt 15 ]; then
    code=124
    echo "no time left" >"$output/$name.log"
  else
    echo "== $name"
    timeout --kill-after=5 $((limit < left ? limit : left)) "$@" >"$output/$name.log" 2>&1 || code=$?
    tail -n 3 "$output/$name.log" | cut -c 1-200
  fi
  sed -i "/^{\"section\": \"$name\",/d" "$results" # from an earlier call
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

# step NAME LIMIT_S MODEL ROWS... : compare the complete step with transformers.
step() { section "step_$1" "$2" "$python" -m tests.benchmarks.train_step --model "$3" --seconds "$seconds" "${@:4}"; }

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

# The project's pytest configuration requires plugins that a GPU machine can lack.
tests=tests/pretrain/kernels
pytest=("$python" -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=.)

section environment 60 "$python" -c "$environment"
if [ -n "$gpu" ]; then
  seconds=9
  section kernel_tests 120 "${pytest[@]}" --confcutdir="$tests" "$tests/fused"
  section step_tests 60 "${pytest[@]}" tests/pretrain/test_on_the_gpu.py
  step large_128 90 large "${rows_128[@]}"
  step large_512 90 large "${rows_512[@]}"
  section kernels 90 "$python" -m tests.benchmarks.kernels
  section pretraining 120 "$python" -m tests.benchmarks.pretraining --minutes 0.6 --output "$output/pretraining.png" \
    "${rows_128[@]}"
  step large_128_lamb 40 large --optimizer lamb --peers ours "${rows_128[@]}"
  step large_512_lamb 40 large --optimizer lamb --peers ours "${rows_512[@]}"
  step base_128 60 base "${rows_128[@]}"
  step base_512 60 base "${rows_512[@]}"
  step base_128_lamb 40 base --optimizer lamb --peers ours "${rows_128[@]}"
  step base_512_lamb 40 base --optimizer lamb --peers ours "${rows_512[@]}"
  section kernels_compiled 60 "$python" -m tests.pretrain.kernels.hopper
  section sweep 120 "$python" -m tests.benchmarks.kernels --sweep --rounds 7  # one JSON line each in sweep.log
else
  export OMP_NUM_THREADS=1 # on a shared machine, threads that wait for one another distort every figure
  seconds=6
  section step_tests 60 "${pytest[@]}" tests/pretrain/test_synchronisation.py
  section kernels_compiled 60 "$python" -m tests.pretrain.kernels.hopper
  step mini_128 90 mini --threads 1 --peers ours eager "${rows_128[@]}"
  step mini_128_lamb 60 mini --threads 1 --optimizer lamb --peers ours "${rows_128[@]}"
  section pretraining 90 "$python" -m tests.benchmarks.pretraining --minutes 0.1 --evaluations 3 \
    --output "$output/pretraining.png" "${rows_128[@]}"
  section kernels 90 "$python" -m tests.benchmarks.kernels --rounds 2 --only add_norm bias_gelu attend adamw
  section kernel_tests 240 "${pytest[@]}" --confcutdir="$tests" "$tests"
fi

echo "== $results"
cut -c 1-160 "$results"
! grep -qv '"exit_code": 0' "$results"
