"""The model card of a fine-tuned model: a README.md that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from configs.files import atomic_write_text
from configs.tasks import TaskRecipe
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.tasks import Task
from pretrain.transfer.trials import Spread

PIPELINES = {
    "BertForSequenceClassification": "text-classification",
    "BertForTokenClassification": "token-classification",
    "BertForQuestionAnswering": "question-answering",
    "BertForMultipleChoice": "multiple-choice",
}


def write_task_card(
    folder: Path, place: Path, recipe: TaskRecipe, data: TaskItems, tests: Mapping[str, Spread], seed: int
) -> None:
    """Write README.md: the base model, the data, the labels, the settings, and the test metrics over the seeds."""
    task = data.task
    pipeline = PIPELINES[task.fields()["architectures"][0]]
    architecture = json.loads((folder / "config.json").read_bytes())["architectures"][0]
    name, dataset = recipe.task.name, Path(recipe.task.data).name
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=dataset,
            dataset_name=f"{dataset}, test records",
            metric_type=metric,
            metric_value=round(spread.mean, 4),
        )
        for metric, spread in tests.items()
    ]
    front = ModelCardData(
        model_name=name,
        license="unknown",
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=place.name,
        datasets=[dataset],
        metrics=list(tests) or None,
        tags=["bertrain"],
        eval_results=results or None,
    )
    lines = [
        "---",
        front.to_yaml(),
        "---",
        "",
        f"# {name}",
        "",
        f"`{place.name}`, fine-tuned with bertrain on `{dataset}` ({recipe.task.kind}). "
        f"This is the model of seed {seed}, the best of {recipe.finetune.seeds} on the validation records. "
        + _loading(architecture),
        "",
        *_section("Test metrics, mean and standard deviation over the seeds", tests),
        *_section("Records", {part: f"{len(of_part):,}" for part, of_part in data.splits.parts().items()}),
        *_labels(task, data),
        *_section("Settings", recipe.finetune.model_dump()),
    ]
    atomic_write_text(folder / "README.md", "\n".join(lines) + "\n")


def _loading(architecture: str) -> str:
    if architecture.endswith("Model"):  # of a task on a model from left to right
        return "Label a file with `bertrain predict`; no class of transformers has its head."
    return f"Load it with `{architecture}`, or label a file with `bertrain predict`."


def _section(title: str, rows: Mapping[str, Any]) -> list[str]:
    return [f"## {title}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]


def _labels(task: Task, data: TaskItems) -> list[str]:
    if "labels" not in task.state():
        return []
    counts = data.splits.labels().counts["training"]
    return _section(
        "Labels and their number in training", {_cell(name): f"{counts[name]:,}" for name in task.state()["labels"]}
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
