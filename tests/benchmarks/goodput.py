"""Measure what a save costs training, and print the goodput that follows: `python -m tests.benchmarks.goodput`.

Trains a model with a checkpoint of 270 MB twice, with saves that block and with saves in the background. In each
training, 50 steps that begin with a save alternate with 50 steps without one. `…_s` is how long a save holds up
training, and `added_by_…_s` the wall time of 50 steps with a save minus that of the next 50 without one; each is a
median, `rounds` tells all differences. The steps are short, so that the CPU is nearly free for the save, as beside a
GPU.

Then the seconds until a job of the test cluster notices a failure and trains again (if Slurm is installed), and the
model's table for 64, 512 and 4,096 GPUs, with its assumptions.

The last line is one JSON object; its `ratio` is `blocking_s` over `background_s`. Times are valid only on an idle
machine with a core to spare for the thread that writes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from configs.recipe import load_recipe, write_recipe
from launch.display.planning import (
    BYTES_PER_WEIGHT,
    COMMIT_S,
    HANGS,
    HOST_COPY_GB_S,
    REQUEUE_S,
    START_S,
    STORAGE_GB_S,
    expected_goodput,
)
from pretrain.data.synthetic import write_synthetic
from pretrain.model import bert_parameters
from pretrain.telemetry import MetricRecords, read_metrics
from tests.benchmarks.restart_times import restart_times
from tests.benchmarks.small_bert import recipe_of

WINDOW = 50  # steps; a save begins every second window
GPUS = (64, 512, 4_096)
SETTINGS = (
    "train.precision=fp32", "train.zero_stage=0", "cluster.ranks_per_node=1", "train.micro_batch_size=1",
    "train.global_batch_size=1", "train.evaluate_every_steps=0", "checkpoint.keep=1",
    f"checkpoint.every_steps={2 * WINDOW}",
    "data.max_seq_length=32", "data.max_predictions_per_seq=5",
)  # fmt: skip


def main() -> None:
    """Measure, predict, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="saves of each kind that are measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saves = {way: train(folder, way, arguments.rounds) for way in ("blocking", "background")}
        for way, saved in saves.items():
            print(json.dumps({"saves": way} | saved), flush=True)
        cluster = restart_times(folder)
    print(json.dumps(result(saves, cluster)))


def train(folder: Path, way: str, rounds: int) -> dict[str, Any]:
    """Train, and return what each save cost. The first save is left out, since it also allocates memory."""
    shape = argparse.Namespace(hidden_size=512, layers=6)
    saving = (f"train.steps={2 * WINDOW * (rounds + 2)}", f"checkpoint.in_background={json.dumps(way == 'background')}")
    recipe = recipe_of(shape, folder, f"name={way}", *SETTINGS, *saving)
    if not Path(recipe.data.dataset).exists():
        write_synthetic(Path(recipe.data.dataset), recipe.data)
    run = folder / recipe.name
    run.mkdir()
    write_recipe(recipe, run / "recipe.toml")
    subprocess.run([sys.executable, "-m", "pretrain", str(run)], check=True, stdout=subprocess.DEVNULL)
    size = sum(path.stat().st_size for path in run.glob("checkpoints/*/*.safetensors"))
    firsts = range(4 * WINDOW, 2 * WINDOW * (rounds + 2), 2 * WINDOW)
    return {"megabytes": size / 1e6} | costs(read_metrics(run), firsts)


def costs(records: MetricRecords, saved_steps: range) -> dict[str, list[float]]:
    """Return how long the saves after these steps held up training, and the wall time that they added."""
    clock = {record["step"]: record["clock"] for record in records}
    held = {record["step"]: record["save_s"] or 0.0 for record in records}
    return {
        "held_up_s": [sum(held[step] for step in range(first + 1, first + WINDOW + 1)) for first in saved_steps],
        "added_s": [
            round(2 * clock[first + WINDOW] - clock[first] - clock[first + 2 * WINDOW], 3) for first in saved_steps
        ],
    }


def result(saves: dict[str, dict[str, Any]], cluster: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the medians of the saves, the cluster's times, and the predicted goodput."""
    held, added = (
        {way: statistics.median(saved[name]) for way, saved in saves.items()} for name in ("held_up_s", "added_s")
    )
    recipe = load_recipe("large_phase1")
    limit_s = min(recipe.cluster.step_timeout_s, recipe.cluster.collective_timeout_s)  # as in `bertrain plan`
    rate = recipe.checkpoint.failures_per_gpu_day
    weights = bert_parameters(recipe.model, 30_522, recipe.data.objective)
    predicted = {gpus: expected_goodput(weights, gpus, rate, limit_s) for gpus in GPUS}
    return {
        "benchmark": "goodput",
        "ratio": held["blocking"] / max(held["background"], 1e-9),
        "reference": "a save that holds up training until it is written",
        "megabytes": saves["blocking"]["megabytes"],
        **{f"{way}_s": seconds for way, seconds in held.items()},
        **{f"added_by_{way}_s": seconds for way, seconds in added.items()},
        "rounds": {way: saved["added_s"] for way, saved in saves.items()},
        "test_cluster": cluster,
        "assumed": {
            "weights": weights, "bytes_per_weight": BYTES_PER_WEIGHT, "storage_gb_s": STORAGE_GB_S,
            "host_copy_gb_s": HOST_COPY_GB_S, "commit_s": COMMIT_S, "requeue_s": REQUEUE_S, "start_s": START_S,
            "hangs": HANGS, "hang_limit_s": limit_s, "failures_per_gpu_day": rate,
        },
        "goodput_pct": {gpus: round(100 * one.share, 2) for gpus, one in predicted.items()},
        "save_every_s": {gpus: round(one.interval_s) for gpus, one in predicted.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
