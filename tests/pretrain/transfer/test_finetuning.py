"""Fine-tuning on a simple task: whether the text contains `good` or `bad`."""

from __future__ import annotations

import json
import math
import platform
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from configs.errors import UserError
from configs.schema import ModelConfig
from configs.tasks import TaskRecipe
from configs.transfer import FinetuneConfig, TaskConfig
from pretrain.huggingface.folder import padded
from pretrain.huggingface.pretrained import Pretrained
from pretrain.transfer.finetuning import TaskItems, check_settings, finetune, predict
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.making import make_task
from pretrain.transfer.report import read_model, write_model
from pretrain.transfer.tasks.classification import Classification
from pretrain.transfer.tasks.task import TransferModel, joined
from pretrain.transfer.trials import Spread, pretrained_start, random_start, spreads, try_seed
from tests.pretrain.runs import MODEL, MODERN, VOCAB, some_model

CONFIG = ModelConfig(**MODEL, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.1)
SOURCE = Pretrained(Path("here"), CONFIG, VOCAB, dict(some_model().named_parameters()))
MODERN_SOURCE = Pretrained(
    Path("here"),
    ModelConfig(**MODEL | MODERN),
    VOCAB,
    dict(some_model(objective="none", **MODERN).named_parameters()),
)
SOURCES = pytest.mark.parametrize("source", [SOURCE, MODERN_SOURCE], ids=["bert", "modernbert"])
SETTINGS = FinetuneConfig(epochs=6, patience=6, batch_size=8, learning_rate=3e-3, max_length=32, device="cpu")


def some_records(count: int, seed: int) -> Records:
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        label = draw.choice(["good", "bad"])
        words = [*draw.choices(["the", "of", "film", "cat", "bank"], k=draw.randint(2, 8)), label]
        draw.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    return Records("here", rows)


def some_items(training: int = 300) -> TaskItems:
    splits = Splits(some_records(training, 1), some_records(32, 2), some_records(64, 3))
    return TaskItems.of(Classification(["bad", "good"], VOCAB, 32), splits)


def test_finetuning_learns_and_is_repeatable() -> None:
    data = some_items()
    one, same, other = (try_seed(pretrained_start(SOURCE), CONFIG, data, SETTINGS, seed) for seed in (0, 0, 1))
    assert one.test.metrics["accuracy"] > 0.9
    assert one.finetuned.epochs == same.finetuned.epochs != other.finetuned.epochs
    summary = spreads([one.test.metrics, other.test.metrics])["accuracy"]
    accuracies = [trial.test.metrics["accuracy"] for trial in (one, other)]
    assert summary.mean == pytest.approx(sum(accuracies) / 2)
    assert str(Spread.of([0.5, 0.7])) == "0.6000 ± 0.1414"
    assert str(Spread.of([0.5])) == "0.5000 ± 0.0000"


def test_a_diverged_finetuning_is_a_fault() -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e3, "epochs": 2})
    with pytest.raises(UserError, match=r"not finite.*the model has diverged"):
        try_seed(pretrained_start(SOURCE), CONFIG, some_items(40), settings, 0)


def test_scores_that_are_not_finite_are_a_fault() -> None:
    data = some_items()
    model = TransferModel(SOURCE.encoder(), data.task, 0.0, 0.02)
    with torch.no_grad():
        model.classifier.weight.fill_(math.inf)
    with pytest.raises(UserError, match="scores are not finite"):
        predict(model, data.task, data.splits.test, data.test, SETTINGS)


def test_best_epoch_is_kept_and_training_stops_early() -> None:
    """With a far too large learning rate epochs differ at random, so validation soon stops improving."""
    data = some_items()
    settings = SETTINGS.model_copy(update={"learning_rate": 3.0, "epochs": 50, "patience": 2})
    reported: list[float] = []
    found = finetune(
        SOURCE.encoder(), CONFIG, data, settings, 0, lambda step, figures: reported.append(figures["accuracy"])
    )
    best = max(reported)
    assert len(found.epochs) == len(reported) == reported.index(best) + 3 < 50
    assert found.validation.metrics["accuracy"] == best
    again = predict(found.model, data.task, data.splits.validation, data.validation, settings)
    assert again.predictions == found.validation.predictions


def test_only_unfrozen_layers_change() -> None:
    encoder = SOURCE.encoder()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    settings = SETTINGS.model_copy(update={"freeze_layers": 1, "epochs": 1})
    after = finetune(encoder, CONFIG, some_items(), settings, 0).model.bert.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    frozen = {name for name in before if name.startswith(("embeddings.", "encoder.0."))}
    assert moved == before.keys() - frozen
    with pytest.raises(UserError, match="3 layers to freeze, but the encoder has 2"):
        check_settings(SETTINGS.model_copy(update={"freeze_layers": 3}), CONFIG)


def test_finetuning_learns_in_bf16() -> None:
    settings = SETTINGS.model_copy(update={"precision": "bf16"})
    assert try_seed(pretrained_start(SOURCE), CONFIG, some_items(), settings, 0).test.metrics["accuracy"] > 0.9


def test_answers_do_not_depend_on_the_batch() -> None:
    data = some_items()
    model = TransferModel(SOURCE.encoder(), data.task, 0.1, 0.2).eval()
    together = predict(model, data.task, data.splits.test, data.test, SETTINGS).predictions
    with torch.no_grad():
        alone = [data.task.decode(model(joined([i])), joined([i]), [i])[0] for i in data.test]
    assert together == data.task.predictions(data.splits.test, data.test, alone).values


def test_training_records_are_drawn_by_the_seed() -> None:
    data = some_items()
    few, same, other = (data.few(10, seed).training for seed in (0, 0, 1))
    assert len(few) == 10
    assert [i.record for i in few] == [i.record for i in same] != [i.record for i in other]
    assert len(data.few(10_000, 0).training) == 300
    assert data.few(1, 0).task.outputs == 2


def test_random_start_has_the_same_shape_and_depends_on_the_seed() -> None:
    start = random_start(CONFIG, len(VOCAB))
    one, same, other = (start(seed).embeddings.word.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == SOURCE.encoder().embeddings.word.weight.shape


def test_only_empty_texts_raise() -> None:
    empty = Records("here", [{"text": "", "label": label} for label in "ab"])
    with pytest.raises(UserError, match="no usable training record"):
        TaskItems.of(Classification(["a", "b"], VOCAB, 32), Splits(empty, empty, empty))


RECORDS: dict[str, dict[str, Any]] = {
    "classify": {"text": "good film", "label": "a"},
    "pair": {"text": "good film", "text_b": "the cat", "label": 1.5},
    "tag": {"tokens": ["good", "film"], "labels": ["B-x", "O"]},
    "qa": {"question": "a cat ?", "context": "the cat", "answers": [{"text": "cat", "start": 4}], "possible": True},
    "choice": {"context": "the", "choices": ["cat", "river bank"], "label": 1},
}


@SOURCES
@pytest.mark.parametrize("kind", RECORDS)
def test_transformers_computes_the_scores_of_a_written_model(tmp_path: Path, kind: str, source: Pretrained) -> None:
    second = {"label": 2.5 if kind == "pair" else "b"} if kind in ("classify", "pair") else {}
    data = Records("here", [RECORDS[kind], {**RECORDS[kind], **second}])
    settings = FinetuneConfig(max_length=48 if kind != "qa" else 96, stride=8)
    config = TaskConfig.model_validate({"kind": kind, "data": "-", "regression": kind == "pair"})
    task = make_task(config, settings, VOCAB, Splits(data, data, data))
    torch.manual_seed(0)
    model = TransferModel(source.encoder(), task, 0.1, 0.5).eval()
    item = task.items(data, training=True)[0]
    batch = joined([item])
    write_model(
        tmp_path / "model", source, TaskRecipe(task=config, finetune=settings), task, model
    )  # for a regression, this rescales the head
    ours = model(batch)
    name = task.fields()["architectures"][0]
    name = f"Modern{name}" if source.config.is_modern else name
    assert json.loads((tmp_path / "model" / "config.json").read_text())["architectures"] == [name]
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "model").eval()
    inputs = padded(batch)
    if source.config.is_modern:
        del inputs["token_type_ids"]
    if kind == "choice":
        inputs = {name: value[None] for name, value in inputs.items()}
    with torch.no_grad():
        outputs = theirs(**inputs)
    if kind == "qa":
        expected = torch.stack([outputs.start_logits[0], outputs.end_logits[0]], dim=1)
    else:
        expected = outputs.logits.reshape(ours.shape) if kind == "choice" else outputs.logits.reshape(-1, task.outputs)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    again = read_model(tmp_path / "model")[2].eval()
    if kind != "pair":  # a regression's head is rescaled once more when it is written
        assert torch.equal(again(batch), ours)


def test_modernbert_learns_from_the_layers_of_its_masked_lm_head() -> None:
    encoder = MODERN_SOURCE.encoder()
    for part in ("dense.weight", "norm.weight"):
        assert torch.equal(encoder.get_parameter(f"pooler.{part}"), MODERN_SOURCE.weights[f"masked_lm.{part}"])
    trial = try_seed(pretrained_start(MODERN_SOURCE), MODERN_SOURCE.config, some_items(), SETTINGS, 0)
    assert trial.test.metrics["accuracy"] > 0.9


HOLES = """
import psutil, sys, torch
from pretrain.transfer.finetuning import unmap_large_blocks
if sys.argv[1] == "unmapped":
    unmap_large_blocks()
mib, first = 1 << 18, torch.ones(30 << 18)
del first  # glibc's limit rises to its size
before = psutil.Process().memory_info().rss
blocks = [torch.ones(6 * mib) for _ in range(40)]
del blocks[::2]
print((psutil.Process().memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap")
def test_freed_blocks_return_to_the_system() -> None:
    """Half of 240 MiB is freed, in every second block."""
    held = {
        heap: int(subprocess.run([sys.executable, "-c", HOLES, heap], capture_output=True, check=True).stdout)
        for heap in ("default", "unmapped")
    }
    assert held["unmapped"] < 150 < held["default"]
