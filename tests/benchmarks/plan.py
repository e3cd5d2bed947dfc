"""Compare the step time that `bertrain plan` estimates with that of 1 and 2 ranks on this machine's CPU.

    python -m tests.benchmarks.plan [--hidden-size 256] [--layers 4] [--steps 30]
    python -m tests.benchmarks.plan --counts

First the hardware profile is measured with one thread per rank, as the ranks run: a large 16-bit matrix product and a
memory copy (both in CPU time), and an all-reduce between two ranks. Then a recipe is trained on synthetic rows. The
last line is one JSON object. `ratio` is the planned over the measured CPU time of computing a step with one rank: 1
is exact; below 1, the plan was too optimistic. It is valid on a busy machine too. `wall_ratio`, the planned over the
measured time of complete steps with two ranks, is valid only on an idle machine.

With --counts, nothing is timed: the peak memory of a step and the bytes that a rank sends are counted at every ZeRO
stage for one of 1, 2, 4 and 8 ranks (torch's fake process group). `ratio` is the planned over the counted figure that
is farthest from 1. The exit code is 1 if a plan of memory is off by more than 5 %, or a plan of bytes by more than 2 %.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import torch

from configs.recipe import write_recipe
from configs.schema import Recipe
from launch.display.planning import find_hardware
from launch.doctor.bandwidth import measure_here
from pretrain.cost import Cost, Hardware
from pretrain.data.synthetic import write_synthetic
from pretrain.telemetry.metrics_file import read_metrics
from tests.benchmarks.plan_counts import compare_counts
from tests.benchmarks.small_bert import add_shape, recipe_of

SIZE = 2048  # of the matrix product
COPIED_BYTES = 512 << 20
TRIALS = 7
WARM_UP_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shape(parser)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--counts", action="store_true", help="compare memory and bytes instead of time")
    arguments = parser.parse_args()
    if arguments.counts:
        sys.exit(compare_counts())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            "name=plan", "train.precision=bf16", "train.zero_stage=1", "train.global_batch_size=32",
            "train.micro_batch_size=16", f"train.steps={arguments.steps}", "train.evaluate_every_steps=0",
            "train.evaluate_rows=1", "checkpoint.every_steps=1000000",
        ]  # fmt: skip
        recipe = recipe_of(arguments, Path(folder), *settings)
        write_synthetic(Path(recipe.data.dataset), recipe.data)
        hardware = profile()
        ranks = [compare(recipe, hardware, count) for count in (1, 2)]
    result = {"benchmark": "plan", "ratio": ranks[0]["ratio"], "reference": "a step of bertrain train"}
    figures = {"wall_ratio": ranks[1]["wall_ratio"], "ranks": ranks, "hardware": asdict(hardware)}
    print(json.dumps(result | figures | {"arguments": vars(arguments)}))


def compare(recipe: Recipe, hardware: Hardware, ranks: int) -> dict[str, float]:
    """Return seconds per step and rank, planned and measured: CPU time of computing, and wall time of the step."""
    planned = Cost(recipe, hardware, recipe.data.vocabulary.size).step(ranks)
    _, few_cpu_s = train(recipe, ranks, WARM_UP_STEPS)
    step_s, many_cpu_s = train(recipe, ranks, recipe.train.steps)
    cpu_s = (many_cpu_s - few_cpu_s) / (recipe.train.steps - WARM_UP_STEPS) / ranks
    return {
        "ranks": ranks,
        "planned_compute_s": planned.compute_s,
        "cpu_s": cpu_s,
        "ratio": planned.compute_s / cpu_s,
        "planned_step_s": planned.step_s,
        "step_s": step_s,
        "wall_ratio": planned.step_s / step_s,
    }


def profile() -> Hardware:
    """Return the profile of one rank's share of this machine."""
    square = torch.randn(SIZE, SIZE, dtype=torch.bfloat16)
    block = torch.zeros(COPIED_BYTES // 4)
    other = torch.empty_like(block)
    return find_hardware(
        "cpu",
        peak_flops=2 * SIZE**3 / shortest_s(lambda: square @ square),
        memory_gb_s=2 * COPIED_BYTES / shortest_s(lambda: other.copy_(block)) / 1e9,
        node_gb_s=measure_here(2, "cpu"),
    )


def shortest_s(work: Callable[[], object]) -> float:
    """Return the shortest CPU time of several calls."""
    seconds = []
    for _ in range(TRIALS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def train(recipe: Recipe, ranks: int, steps: int) -> tuple[float, float]:
    """Train from scratch. Return the median step time, and the CPU time of all ranks from start to end."""
    run = Path(recipe.runs) / f"ranks{ranks}-steps{steps}"
    file = run.with_suffix(".toml")
    cluster = recipe.cluster.model_copy(update={"ranks_per_node": ranks})
    limited = recipe.train.model_copy(update={"steps": steps})
    write_recipe(recipe.model_copy(update={"name": run.name, "cluster": cluster, "train": limited}), file)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-P", "-m", "launch.cli", "train", str(file)], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = [record["time_s"] for record in read_metrics(run)]
    step_s = statistics.median(later - earlier for earlier, later in pairwise(times))
    return step_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
