"""Both loops learn a simple task from the same folder, records and settings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.schema import OptimizerConfig
from configs.tasks import BudgetedTask
from configs.transfer import Kind
from pretrain.engine.distributed import seed_everything
from pretrain.engine.schedule import learning_rate_at
from pretrain.huggingface.folder import write_hugging_face_folder
from pretrain.huggingface.pretrained import Pretrained
from pretrain.transfer.finetuning import TaskItems, batches_of, finetune
from pretrain.transfer.tasks.readers import Records
from pretrain.transfer.tasks.splits import Splits
from pretrain.transfer.tasks.task import TransferModel
from pretrain.transfer.trials import make_task
from tests.benchmarks.transfer.trainer_loop import ADAM_EPS, Plain, compare
from tests.pretrain.runs import VOCAB
from tests.pretrain.transfer.test_finetuning import CONFIG, SETTINGS, SOURCE, some_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    write_hugging_face_folder(tmp_path / "model", CONFIG, VOCAB, encoder_weights())
    return tmp_path / "model"


def encoder_weights() -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in SOURCE.weights.items() if name.startswith("bert.")}


def task_records(kind: Kind, count: int) -> Records:
    """Return texts with one label, or tokenised texts with one label per word."""
    texts = some_records(count, 1)
    if kind == "classify":
        return texts
    named = {"good": "B-good", "bad": "B-bad"}
    sentences = [record["text"].split() for record in texts.records]
    return Records("here", [{"tokens": words, "labels": [named.get(w, "O") for w in words]} for words in sentences])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_both_loops_learn(folder: Path, tmp_path: Path, kind: Kind) -> None:
    records = task_records(kind, 300).records
    data = tmp_path / ("tokens.conll" if kind == "tag" else "texts.jsonl")
    if kind == "tag":
        sentences = [zip(record["tokens"], record["labels"], strict=True) for record in records]
        data.write_text("\n".join("".join(f"{word} {label}\n" for word, label in pairs) for pairs in sentences))
    else:
        data.write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = SETTINGS.model_copy(update={"epochs": 8, "patience": 8})
    made = compare(folder, BudgetedTask(name="task", kind=kind, data=str(data), records=200, finetune=settings))
    assert made["ours"]["mean"] > 0.9
    assert made["theirs"]["mean"] > 0.9
    assert made["difference"] == pytest.approx(made["ours"]["mean"] - made["theirs"]["mean"], abs=1e-4)


@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_both_loops_take_the_same_steps_without_randomness(tmp_path: Path, kind: Kind) -> None:
    """With the same head, order and rates, and without dropout, losses are equal: the loops differ in draws only."""
    config = CONFIG.model_copy(update={"hidden_dropout_prob": 0.0})
    settings = SETTINGS.model_copy(update={"epochs": 2, "batch_size": 4, "weight_decay": 0.1})
    source, records = Pretrained(tmp_path, config, VOCAB, SOURCE.weights), task_records(kind, 20)
    write_hugging_face_folder(tmp_path, config, VOCAB, encoder_weights())
    task = BudgetedTask(kind=kind, data="-", finetune=settings)
    items = TaskItems.of(make_task(task, settings, VOCAB, records), Splits(records, records, records))
    losses: list[float] = []
    ours = finetune(source.encoder(), config, items, settings, 0, lambda _, figures: losses.append(figures["loss"]))

    plain = Plain(tmp_path, task, records)
    model, features, order = plain.model(), plain.features(records), np.random.default_rng(0)
    encoder = source.encoder()
    seed_everything(0)
    head = TransferModel(encoder, items.task, 0.0, config.initializer_range).classifier
    model.classifier.load_state_dict(head.state_dict())
    adam, steps = torch.optim.AdamW(plain.parameters_of(model), eps=ADAM_EPS), itertools.count(1)
    rates = OptimizerConfig(
        learning_rate=settings.learning_rate, warmup_steps=int(settings.warmup_fraction * 10), gradient_clipping=1.0
    )
    for loss in losses:
        total = 0.0
        for batch in batches_of([features[number] for number in order.permutation(20)], 4):
            adam.param_groups[0]["lr"] = adam.param_groups[1]["lr"] = learning_rate_at(next(steps), rates, 10)
            total += plain.step(model, adam, batch) * 4
        assert loss == pytest.approx(total / 20, rel=1e-5)
    assert ours.epochs[0]["loss"] > ours.epochs[1]["loss"]


def test_plain_loop_decays_and_labels_as_ours(folder: Path) -> None:
    records = Records("here", [{"tokens": ["bankx", "good"], "labels": ["O", "B-x"]}])
    plain = Plain(folder, BudgetedTask(kind="tag", data="-", finetune=SETTINGS), records)
    (feature,) = plain.features(records)
    assert feature["labels"] == [-100, 1, -100, 0, -100]  # bank ##x good
    decayed, others = (group["params"] for group in plain.parameters_of(plain.model()))
    assert all(weight.dim() > 1 for weight in decayed)
    assert all(weight.dim() == 1 for weight in others)
