"""Steps of fine-tuning: micro-batches, layer-wise learning rates."""

from __future__ import annotations

import pytest
import torch

from configs.transfer import FinetuneConfig, TaskConfig
from pretrain.engine import seed_everything
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.making import make_task
from pretrain.transfer.stepping import Stepper, depth_of, layer_groups
from pretrain.transfer.tasks import Task, TransferModel
from tests.pretrain.runs import VOCAB
from tests.pretrain.transfer.test_finetuning import CONFIG, SETTINGS, SOURCE, some_records

NO_DROPOUT = CONFIG.model_copy(update={"hidden_dropout_prob": 0.0})


def some_task(kind: str, settings: FinetuneConfig) -> tuple[Task, Records]:
    texts = some_records(24, 1)
    if kind == "tag":
        words = [record["text"].split() for record in texts.records]
        tags = [[f"B-{word}" if word in ("good", "bad") else "O" for word in sentence] for sentence in words]
        texts = Records("here", [{"tokens": w, "labels": t} for w, t in zip(words, tags, strict=True)])
    config = TaskConfig.model_validate({"kind": kind, "data": "-"})
    return make_task(config, settings, VOCAB, Splits(texts, texts, texts)), texts


def weights_after_a_step(kind: str, settings: FinetuneConfig) -> dict[str, torch.Tensor]:
    task, records = some_task(kind, settings)
    seed_everything(0)
    source = SOURCE.with_dropout(0.0)
    model = TransferModel(source.encoder(), task, 0.0, NO_DROPOUT.initializer_range)
    stepper = Stepper(model, task, settings, 10)
    model.train()
    stepper.take(task.items(records, training=True))
    return model.state_dict()


@pytest.mark.parametrize(("kind", "weights"), [("classify", "none"), ("classify", "balanced"), ("tag", "none")])
def test_accumulation_has_the_gradient_of_the_whole_batch(kind: str, weights: str) -> None:
    """The five micro-batches of 24 items differ in size, in labelled tokens, and in the weights of their classes."""
    settings = SETTINGS.model_copy(update={"class_weights": weights, "warmup_fraction": 0.0})
    whole = weights_after_a_step(kind, settings)
    parts = weights_after_a_step(kind, settings.model_copy(update={"gradient_accumulation_steps": 5}))
    before = SOURCE.encoder().state_dict()
    moved = [name for name, weight in before.items() if not torch.equal(whole[f"bert.{name}"], weight)]
    assert len(moved) > 20
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-4, atol=2e-5)


def test_layers_have_decaying_learning_rates() -> None:
    settings = SETTINGS.model_copy(update={"layer_decay": 0.5, "warmup_fraction": 0.0})
    task, _ = some_task("classify", settings)
    model = TransferModel(SOURCE.encoder(), task, 0.0, 0.02)
    shares = {name: group["share"] for group in layer_groups(model, settings) for name in group["names"]}
    assert shares.keys() == dict(model.named_parameters()).keys()
    assert shares["classifier.weight"] == shares["bert.pooler.weight"] == 1.0
    assert shares["bert.encoder.1.feed_in.weight"] == 0.5
    assert shares["bert.encoder.0.feed_in.weight"] == 0.25
    assert shares["bert.embeddings.word.weight"] == 0.125
    stepper = Stepper(model, task, settings, 10)
    texts = some_records(8, 1)
    stepper.take(task.items(texts, training=True))
    rates = sorted({group["lr"] for group in stepper.adam.param_groups})
    assert rates == pytest.approx([settings.learning_rate * share for share in (0.125, 0.25, 0.5, 1.0)])


def test_depth_counts_the_layers_above() -> None:
    assert [depth_of(name, 12) for name in ("classifier.bias", "bert.encoder.11.x", "bert.encoder.0.x")] == [0, 1, 12]
    assert depth_of("bert.embeddings.norm.weight", 12) == 13
