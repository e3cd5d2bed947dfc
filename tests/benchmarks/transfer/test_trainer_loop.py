"""Both loops learn a simple task from the same folder, records and settings, and take the same steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from configs.tasks import BudgetedTask
from pretrain.huggingface.folder import write_hugging_face_folder
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.labelled import Records, read_splits
from pretrain.transfer.making import make_task
from tests.benchmarks.transfer.plain_loop import Plain
from tests.benchmarks.transfer.trainer_loop import LOOPS, run, step_differences
from tests.pretrain.runs import VOCAB
from tests.pretrain.transfer.test_finetuning import CONFIG, SETTINGS, SOURCE, some_records

KINDS = ["classify", "tag", "pair", "regression", "multi", "qa"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    config = CONFIG.model_copy(update={"max_position_embeddings": 96})
    weights = encoder_weights()
    position = "bert.embeddings.position.weight"
    weights[position] = weights[position].repeat(2, 1)
    write_hugging_face_folder(tmp_path / "model", config, VOCAB, weights)
    return tmp_path / "model"


def encoder_weights() -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in SOURCE.weights.items() if name.startswith("bert.")}


def write_task(folder: Path, kind: str, count: int, **changes: Any) -> BudgetedTask:
    """A task of this kind about whether a text contains `good` or `bad`."""
    rows = [row_of(kind, record, number) for number, record in enumerate(some_records(count, 1).records)]
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"regression": "classify", "multi": "classify"}.get(kind, kind)
    long = {"max_length": 90, "stride": 8} if kind == "qa" else {}
    settings = SETTINGS.model_copy(update=long | changes)
    fields = {"kind": named, "regression": kind == "regression", "finetune": settings}
    return BudgetedTask.model_validate({"name": "task", "data": str(path), **fields})


def row_of(kind: str, record: dict[str, Any], number: int) -> dict[str, Any]:
    text, label = record["text"], record["label"]
    words = text.split()
    if kind == "tag":
        return {"tokens": words, "labels": [f"B-{w}" if w in ("good", "bad") else "O" for w in words]}
    if kind == "qa":
        answer = {"text": [label], "answer_start": [text.index(label)]}
        return {"id": str(number), "question": "the film ?", "context": text, "answers": answer}
    if kind == "pair":
        return {"premise": text, "hypothesis": "the good film", "label": label}
    if kind == "multi":
        return {"text": text, "label": [name for name in ("good", "film", "cat") if name in words]}
    return {"text": text, "label": float(label == "good") if kind == "regression" else label}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_both_loops_learn(folder: Path, tmp_path: Path, kind: str) -> None:
    task = write_task(tmp_path, kind, 300, epochs=8, patience=8, seeds=1)
    made = {loop: run(loop, folder, task) for loop in LOOPS}
    assert all(of_loop["seeds"][0] > 0.9 for of_loop in made.values())
    assert all(of_loop["peak_mib"] > 0 for of_loop in made.values())


@pytest.mark.parametrize("kind", KINDS)
def test_both_loops_take_the_same_steps_without_randomness(folder: Path, tmp_path: Path, kind: str) -> None:
    task = write_task(tmp_path, kind, 120, batch_size=8, weight_decay=0.1)
    splits = read_splits(task)
    items = TaskItems.of(make_task(task, task.finetune, VOCAB, splits), splits)
    differences = step_differences(folder, task, items)
    assert len(differences) == 10
    assert max(differences) < 1e-4


def test_plain_loop_decays_and_labels_as_ours(folder: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path, "tag", 60)
    splits = read_splits(task)
    records = Records("here", [{"tokens": ["bankx", "good"], "labels": ["O", "B-good"]}])
    items = TaskItems.of(make_task(task, task.finetune, VOCAB, splits), splits)
    plain = Plain(folder, task, items)
    items.splits.training.records[0] = records.records[0]
    (feature,) = plain.features(0)
    assert feature["labels"] == [-100, 2, -100, 1, -100]  # bank ##x good
    decayed, others = (group["params"] for group in plain.parameters_of(plain.model()))
    assert all(weight.dim() > 1 for weight in decayed)
    assert all(weight.dim() == 1 for weight in others)
