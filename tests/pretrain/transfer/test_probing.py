"""Probes on a task whose labels only one layer's vectors predict."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from configs.transfer import FinetuneConfig, TaskConfig
from pretrain.model.batch import Batch
from pretrain.transfer import probing
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.making import make_task
from pretrain.transfer.probing import Heads, probe, vectors_of
from tests.pretrain.runs import VOCAB, some_model
from tests.pretrain.transfer.test_finetuning import RECORDS, SETTINGS, some_items

CPU = torch.device("cpu")


def test_heads_are_linear_on_each_layer_and_on_their_mix() -> None:
    heads = Heads(layers=2, width=4, outputs=3)
    torch.nn.init.normal_(heads.weight)
    torch.nn.init.normal_(heads.bias)
    heads.mix_logits.data = torch.tensor([1.0, 3.0]).log()  # mix weights 1/4 and 3/4
    vectors = torch.randn(2, 5, 4)
    mixed = 0.25 * vectors[0] + 0.75 * vectors[1]
    for head, layer in enumerate([*vectors, mixed]):
        expected = torch.nn.functional.layer_norm(layer, (4,)) @ heads.weight[head] + heads.bias[head]
        torch.testing.assert_close(heads(vectors)[head], expected)


def test_vectors_do_not_depend_on_the_batch() -> None:
    data, encoder = some_items(20), some_model().bert
    together = vectors_of(encoder, data.task, data.training, CPU)
    alone = [vectors_of(encoder, data.task, [item], CPU)[0] for item in data.training]
    assert [vectors.shape for vectors in together] == [(3, 1, 16)] * 20
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_informative_layer_has_the_best_probe_and_the_largest_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers 0 and 1 are noise; layer 2 encodes the word that determines the label."""
    monkeypatch.setattr(probing, "STEPS", 200)
    encoder = some_model().bert
    label_words = torch.tensor([VOCAB.ids["good"], VOCAB.ids["bad"]])

    def hidden_states(batch: Batch) -> list[torch.Tensor]:
        noise = torch.randn(2, len(batch.input_ids), 16)
        informative = torch.zeros(len(batch.input_ids), 16)
        informative[:, :2] = 5.0 * (batch.input_ids[:, None] == label_words)
        return [*noise, informative + 0.1 * noise[0]]

    encoder.hidden_states = hidden_states  # type: ignore[assignment, method-assign]  # replaces the layers' outputs
    probed = probe(encoder, some_items(), SETTINGS, seed=0)
    accuracies = [answers.metrics["accuracy"] for answers in probed.layers]
    assert accuracies[2] == 1.0
    assert max(accuracies[:2]) < 0.8
    assert probed.mixed.metrics["accuracy"] > 0.9
    assert probed.mix.layers == [0, 1, 2]
    assert probed.mix.weights[2] == max(probed.mix.weights)
    assert sum(probed.mix.weights) == pytest.approx(1.0)


def test_probing_keeps_the_encoder_and_is_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, data = some_model().bert, some_items(60)
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    monkeypatch.setattr(probing, "STEPS", 20)
    one, same = (probe(encoder, data, SETTINGS, seed=0) for _ in range(2))
    assert one == same
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())


@pytest.mark.parametrize("kind", RECORDS)
def test_probe_every_kind_of_task(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "STEPS", 2)
    fields: dict[str, Any] = {"kind": kind, "data": "a", "regression": kind == "pair"}
    other = {"label": 2.5 if kind == "pair" else "b"} if kind in ("classify", "pair") else {}
    records = Records("here", [RECORDS[kind], RECORDS[kind] | other])
    settings = FinetuneConfig(max_length=96, stride=8)
    task = make_task(TaskConfig(**fields), settings, VOCAB, Splits(records, records, records))
    data = TaskItems.of(task, Splits(records, records, records))
    probed = probe(some_model(max_position_embeddings=96).bert, data, settings, seed=0)
    assert len(probed.layers) == 3
    assert len(probed.mixed.predictions) == 2


def test_number_of_vectors_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "MAX_VECTORS", 30)
    data = some_items(100)
    chosen = probing._subsample(data.training, data.task, seed=0)
    assert len(chosen) == 30
    assert chosen != probing._subsample(data.training, data.task, seed=1)
