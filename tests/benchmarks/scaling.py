"""Measure one and two ranks on this machine's CPU, and the bytes they send: `python -m tests.benchmarks.scaling`.

Weak scaling: the trainer's step with the same number of rows per rank and one thread per rank, alternating between
the two world sizes. The `efficiency` is two ranks' tokens per second over twice those of one rank, the median of the
rounds. Then every collective of a step is counted by kind, for each ZeRO stage with one and with two micro-steps.
`sent_mb` is the traffic that a rank sends for them with ring algorithms, `planned_mb` the estimate of `bertrain
plan`, and `ratio` the first over the second.

The last line is one JSON object; its `ratio` is the efficiency. Times are valid only on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from configs.recipe import load_recipe, write_recipe
from configs.schema import Recipe
from pretrain.cost import HARDWARE, Cost
from pretrain.data.step import Step
from pretrain.data.synthetic import write_synthetic
from pretrain.engine.distributed import join_process_group
from pretrain.stop import StopRequest
from pretrain.trainer import Trainer
from tests.benchmarks.small_bert import add_shape, recipe_of
from tests.benchmarks.traffic import Traffic
from tests.distributed import ranks

STAGES = (0, 1, 2, 3)
MICRO_STEPS = (1, 2)
WARM_UP_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shape(parser)
    parser.add_argument("--rows", type=int, default=16, help="rows of 128 tokens per rank and step")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--steps", type=int, default=20, help="steps per turn")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            "name=scaling", f"train.precision={arguments.precision}", f"train.micro_batch_size={arguments.rows}",
            f"train.global_batch_size={2 * arguments.rows}",
        ]  # fmt: skip
        recipe = recipe_of(arguments, Path(folder), *settings)
        write_synthetic(Path(recipe.data.dataset), recipe.data)
        write_recipe(recipe, Path(folder) / "recipe.toml")
        tokens_per_s = take_turns(folder, arguments.steps, arguments.rounds)
        stages = {stage: ranks.run(count_a_step, 2, folder, stage, timeout_s=300)[0] for stage in STAGES}
    efficiencies = [two / one / 2 for one, two in zip(tokens_per_s[1], tokens_per_s[2], strict=True)]
    figures = {
        "benchmark": "scaling",
        "ratio": round(statistics.median(efficiencies), 3),
        "reference": "as many tokens a second a rank as one rank alone",
        "tokens_per_s": {size: round(statistics.median(figures)) for size, figures in tokens_per_s.items()},
        "a_step_sends": {
            f"zero {stage}": compared_with_plan(recipe, stage, counted) for stage, counted in stages.items()
        },
    }
    print(json.dumps(figures | {"arguments": vars(arguments)}))


def take_turns(folder: str, steps: int, rounds: int) -> dict[int, list[float]]:
    """Return the tokens per second of all ranks, per world size and turn."""
    turns: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for world_size, so_far in turns.items():
            so_far.append(ranks.run(train, world_size, folder, steps, timeout_s=600)[0])
            print(world_size, f"ranks: {so_far[-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    return turns


def train(folder: str, steps: int) -> float:
    """Runs in each rank. Return the tokens per second of all ranks."""
    trainer = trainer_of(folder, stage=1)
    rows = trainer.recipe.train.micro_batch_size * trainer.world.world_size
    with trained(trainer, [rows] * (WARM_UP_STEPS + steps)) as done:
        list(islice(done, WARM_UP_STEPS))
        began = time.perf_counter()
        tokens = sum(step.tokens for step in done)
        return tokens / (time.perf_counter() - began)


def count_a_step(folder: str, stage: int) -> dict[int, dict[str, Any]]:
    """Runs in each rank. Return the collectives of one step, by its number of micro-steps."""
    trainer = trainer_of(folder, stage)
    rows, world_size = trainer.recipe.train.micro_batch_size, trainer.world.world_size
    counted = {}
    with trained(trainer, [rows * world_size * count for count in (1, *MICRO_STEPS)]) as done:
        next(done)  # the first step allocates what the later steps reuse
        for micro_steps in MICRO_STEPS:
            with Traffic() as traffic:
                assert len(next(done).batches) == micro_steps
            kinds = {kind: {"calls": calls, "mb": traffic.bytes[kind] / 1e6} for kind, calls in traffic.calls.items()}
            counted[micro_steps] = {"sent_mb": traffic.sent_bytes(world_size) / 1e6, "kinds": kinds}
    return counted


def trainer_of(folder: str, stage: int) -> Trainer:
    """Return a trainer of the folder's recipe at this ZeRO stage."""
    run = Path(folder) / f"zero{stage}"
    run.mkdir(exist_ok=True)
    recipe = load_recipe(Path(folder) / "recipe.toml", [f"train.zero_stage={stage}"])
    write_recipe(recipe, run / "recipe.toml")
    return Trainer(run, recipe, join_process_group(recipe.cluster), StopRequest())


@contextmanager
def trained(trainer: Trainer, batch_sizes: list[int]) -> Generator[Generator[Step]]:
    """Yield the steps with these global batch sizes, each after it is done."""

    def made() -> Generator[Step]:
        state = trainer._restore("never")
        for step in steps:
            trainer.throughput.rows_arrived()
            state, _ = trainer._train_step(state, step)
            yield step

    with closing(trainer.loader.steps(0, batch_sizes)) as steps:
        yield made()


def compared_with_plan(recipe: Recipe, stage: int, counted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the counted traffic with the estimate of pretrain.cost."""
    staged = recipe.model_copy(update={"train": recipe.train.model_copy(update={"zero_stage": stage})})
    cost = Cost(staged, HARDWARE["cpu"], recipe.data.vocabulary.size)
    result = {}
    for micro_steps, figures in counted.items():
        planned_mb = cost.sent_bytes(2, int(micro_steps)) / 1e6
        rounded = {"sent_mb": round(figures["sent_mb"], 3), "planned_mb": round(planned_mb, 3)}
        result[f"{micro_steps} micro-steps"] = figures | rounded | {"ratio": round(figures["sent_mb"] / planned_mb, 3)}
    return result


if __name__ == "__main__":
    main()
