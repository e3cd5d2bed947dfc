"""Measure what a save costs training, and print the goodput that follows: `python -m tests.benchmarks.goodput`.

Trains 50 steps of a model with a checkpoint of 270 MB, in turns: without a save, with a blocking one, and with one in
the background, in a process each. `blocking_s` and `background_s` are how long a save holds up training; `added_s` is
the wall time of the 50 steps with a background save minus that without one. Then the model's table for 64, 512 and
4,096 GPUs, with its assumptions.

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
from pretrain.telemetry import read_metrics
from tests.benchmarks.small_bert import recipe_of

STEPS, SAVED_STEPS = 50, (15, 30)  # the first save also allocates its memory
NEVER = 10**9
WAYS = {"none": (NEVER, True), "blocking": (SAVED_STEPS[0], False), "background": (SAVED_STEPS[0], True)}
GPUS = (64, 512, 4_096)


def main() -> None:
    """Measure, predict, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for way in WAYS:
                found[way].append(train(Path(folder), way, number))
                print(json.dumps({"round": number, "way": way} | found[way][-1]), flush=True)
    print(json.dumps(result(found)))


def train(folder: Path, way: str, number: int) -> dict[str, float]:
    """Train `STEPS` steps; return their wall time, and the time for which the later save held up training."""
    every_steps, in_background = WAYS[way]
    shape = argparse.Namespace(hidden_size=512, layers=6)
    settings = (
        "train.precision=fp32", "train.zero_stage=0", "cluster.ranks_per_node=1",
        f"train.steps={STEPS + 1}", "train.micro_batch_size=4", "train.global_batch_size=4", "checkpoint.keep=1",
        f"checkpoint.every_steps={every_steps}", f"checkpoint.in_background={json.dumps(in_background)}",
    )  # fmt: skip
    recipe = recipe_of(shape, folder, f"name={way}{number}", *settings)
    if not Path(recipe.data.dataset).exists():
        write_synthetic(Path(recipe.data.dataset), recipe.data)
    run = folder / recipe.name
    run.mkdir()
    write_recipe(recipe, run / "recipe.toml")
    subprocess.run([sys.executable, "-m", "pretrain", str(run)], check=True, stdout=subprocess.DEVNULL)
    records = {record["step"]: record for record in read_metrics(run)}
    first, last = records[SAVED_STEPS[0] + 1], records[STEPS]
    held_up = sum(records[step]["save_s"] or 0.0 for step in range(SAVED_STEPS[1] + 1, STEPS - 4))
    size = sum(path.stat().st_size for path in run.glob("checkpoints/*/*.safetensors"))
    return {"wall_s": last["clock"] - first["clock"], "held_up_s": held_up, "megabytes": size / 1e6}


def result(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the medians of the rounds, and the predicted goodput."""
    wall = {way: statistics.median(one["wall_s"] for one in rounds) for way, rounds in found.items()}
    held = {way: statistics.median(one["held_up_s"] for one in rounds) for way, rounds in found.items()}
    recipe = load_recipe("large_phase1")
    limit_s, rate = recipe.cluster.collective_timeout_s, recipe.checkpoint.failures_per_gpu_day
    weights = bert_parameters(recipe.model, 30_522, recipe.data.objective)
    predicted = {gpus: expected_goodput(weights, gpus, rate, limit_s) for gpus in GPUS}
    return {
        "benchmark": "goodput",
        "ratio": held["blocking"] / max(held["background"], 1e-9),
        "reference": "a save that holds up training until it is written",
        "megabytes": found["blocking"][0]["megabytes"],
        "blocking_s": held["blocking"],
        "background_s": held["background"],
        "added_s": wall["background"] - wall["none"],
        "added_by_blocking_s": wall["blocking"] - wall["none"],
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
