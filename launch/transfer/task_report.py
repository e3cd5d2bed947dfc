"""`bertrain evaluate --tasks`: compare a pretrained model with random weights on each task, in tables and a plot.

report.json          held-out metrics, and each task's metrics for every seed, for both models
tasks.png            scores after fine-tuning, and probe scores by layer
<task>/mix.json      the learned layer weights, for `bertrain embed --mix`
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from configs.errors import UserError
from configs.files import atomic_write_text, explain_write_errors, read_bounded
from configs.machine import require_package
from configs.records import parse_object
from configs.run_layout import EVALUATION
from configs.tasks import BudgetedTask
from launch.terminal import console, plain_table
from launch.transfer.finetuning import EXTRA_PACKAGES
from launch.transfer.task_data import open_task
from pretrain.huggingface import Pretrained, load_pretrained
from pretrain.telemetry import perplexity
from pretrain.transfer import (
    PRETRAINED,
    RANDOM,
    STARTS,
    Probed,
    Spread,
    Trial,
    Worth,
    check_settings,
    defined,
    draw_worth,
    measure_worth,
    plain,
    sizes,
    spreads,
)

log = logging.getLogger(__name__)


def run_task_report(place: Path, tasks: Sequence[BudgetedTask], output: Path) -> None:
    """Fine-tune and probe the model at `place` and random weights on all tasks. Write the report to `output`."""
    for package in EXTRA_PACKAGES:
        require_package(package)
    source = load_pretrained(place)
    positions = source.config.max_position_embeddings
    tasks = [task.model_copy(update={"finetune": task.finetune.fitted_to(positions)}) for task in tasks]
    for task in tasks:
        check_settings(task.finetune, source.config)
    make_folder(output)
    worths, content = [], []
    for task in tasks:
        worth, of_task = _measured(source.with_dropout(task.finetune.dropout), task)
        worths.append(worth)
        content.append(of_task)
        (output / task.name).mkdir()
        worth.mix.write(output / task.name / "mix.json")
        _write(output, place, content)
        draw_worth(output / "tasks.png", worths)
    console().print(_table(worths))
    console().print(_probe_table(worths))
    console().print(f"{output}: report.json, tasks.png, one mix.json per task", markup=False)


def make_folder(output: Path) -> None:
    """Create the folder. Raise `UserError` if it exists or cannot be created."""
    if output.exists():
        fix = "choose another --output, or remove it"
        raise UserError("the path exists already", place=str(output), fix=fix)
    with explain_write_errors(output):
        output.mkdir(parents=True)


def _measured(source: Pretrained, task: BudgetedTask) -> tuple[Worth, dict[str, Any]]:
    data = open_task(task, task.finetune, source)
    metric, seeds = data.task.watched, dict.fromkeys(STARTS, 0)

    def print_trial(start: str, trial: Trial, probed: Probed) -> None:
        best = max(answers.metrics[metric] for answers in probed.layers)
        text = f"    seed {seeds[start]}, {start}: {metric} {trial.test.metrics[metric]:.4f}, best probe {best:.4f}"
        console().print(text, markup=False)
        seeds[start] += 1

    worth = measure_worth(source, task, data, print_trial)
    return worth, _of_worth(worth) | {"data": sizes(data)}


def _of_worth(worth: Worth) -> dict[str, Any]:
    difference = worth.difference
    starts = {
        start: {
            "test": plain(spreads([trial.metrics for trial in worth.trials[start]])),
            "seeds": [trial.metrics for trial in worth.trials[start]],
            "probes": [plain({worth.metric: spread}) for spread in worth.probed(start)],
            "probe_of_mix": plain({worth.metric: worth.mixed(start)}),
        }
        for start in STARTS
    }
    return {
        "task": worth.task.model_dump(),
        "metric": worth.metric,
        "difference": {"mean": difference.mean, "deviation": difference.deviation},
        "is_beyond_the_spread": worth.is_beyond_the_spread,
        "mix": {"layers": worth.mix.layers, "weights": worth.mix.weights},
        **starts,
    }


def _write(output: Path, place: Path, tasks: Sequence[dict[str, Any]]) -> None:
    content: dict[str, Any] = {"source": str(place), "tasks": tasks}
    if held_out := _held_out(place):
        content["held_out"] = held_out | {"mlm_perplexity": perplexity(held_out["mlm_loss"])}
    atomic_write_text(output / "report.json", json.dumps(defined(content), indent=1, ensure_ascii=False) + "\n")


def _held_out(place: Path) -> dict[str, Any]:
    """Return a run's last evaluation; empty if there is none, or if it is damaged, which is logged."""
    file = place / EVALUATION
    if not file.is_file():
        return {}
    try:
        found = parse_object(read_bounded(file))
        return found | {"mlm_loss": float(found["mlm_loss"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged and left out of the report: %s", file, error)
        return {}


def _table(worths: Sequence[Worth]) -> Table:
    table = plain_table("fine-tuned", "", "seeds", PRETRAINED, RANDOM, "difference", "")
    for worth in worths:
        verdict = "beyond the spread" if worth.is_beyond_the_spread else "within the spread"
        figures = (str(worth.finetuned(start)) for start in STARTS)
        seeds = str(worth.task.finetune.seeds)
        table.add_row(worth.task.name, worth.metric, seeds, *figures, _signed(worth.difference), verdict)
    return table


def _probe_table(worths: Sequence[Worth]) -> Table:
    """Return the probe scores: one row per layer, one column per task and model."""
    table = plain_table("probe", *(f"{worth.task.name}, {start}" for worth in worths for start in STARTS))
    columns = [[*worth.probed(start), worth.mixed(start)] for worth in worths for start in STARTS]
    names = [f"layer {number}" for number in range(len(columns[0]) - 1)] + ["learned mix"]
    for name, row in zip(names, zip(*columns, strict=True), strict=True):
        table.add_row(name, *map(str, row))
    return table


def _signed(spread: Spread) -> str:
    return f"{spread.mean:+.4f} ± {spread.deviation:.4f}"
