"""Tasks on a model from left to right: what their heads read, and their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from configs.schema import ModelConfig
from configs.tasks import TaskRecipe
from configs.transfer import FinetuneConfig, TaskConfig
from pretrain.huggingface.folder import padded
from pretrain.huggingface.pretrained import Pretrained
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.making import make_task
from pretrain.transfer.report import OWN_HEAD, read_model, write_model
from pretrain.transfer.tasks import Task, TransferModel, joined
from tests.pretrain.runs import MODEL, MODERN, VOCAB, some_model

LEFT = {"attention": "left_to_right"}
KINDS: dict[str, dict[str, Any]] = {"bert": LEFT, "modernbert": MODERN | LEFT}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "classify": [{"text": "good film", "label": "a"}, {"text": "bad cat", "label": "b"}],
    "tag": [{"tokens": ["good", "film"], "labels": ["B-x", "O"]}],
}


def source_of(kind: str) -> Pretrained:
    model = some_model(objective="none", **KINDS[kind])
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    return Pretrained(Path("here"), ModelConfig(**MODEL | KINDS[kind]), VOCAB, weights)


def task_of(kind: str) -> tuple[Task, TaskRecipe, Records]:
    data, settings = Records("here", RECORDS[kind]), FinetuneConfig(max_length=48)
    config = TaskConfig.model_validate({"kind": kind, "data": "-"})
    return (
        make_task(config, settings, VOCAB, Splits(data, data, data)),
        TaskRecipe(task=config, finetune=settings),
        data,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_token_of_each_row_is_pooled(kind: str) -> None:
    encoder = source_of(kind).encoder().eval()
    task, _, data = task_of("classify")
    batch = joined(task.items(data, training=True))
    last = batch.offsets[1:].long() - 1
    hidden, pooled = encoder(batch)
    expected = encoder.token_vectors(hidden, batch)[last]
    if kind == "bert":
        assert isinstance(encoder.pooler, torch.nn.Linear)
        expected = torch.tanh(encoder.pooler(expected))
    torch.testing.assert_close(pooled, expected)
    assert pooled is not None
    assert not torch.allclose(pooled[0], pooled[1])  # [CLS] would be the same in both rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task_kind", RECORDS)
def test_a_written_model_is_read_back(tmp_path: Path, kind: str, task_kind: str) -> None:
    source, (task, recipe, data) = source_of(kind), task_of(task_kind)
    torch.manual_seed(0)
    model = TransferModel(source.encoder(), task, 0.1, 0.5).eval()
    batch = joined(task.items(data, training=True))
    write_model(tmp_path / "model", source, recipe, task, model)
    assert torch.equal(read_model(tmp_path / "model")[2].eval()(batch), model(batch))
    fields = json.loads((tmp_path / "model" / "config.json").read_bytes())
    if (kind, task_kind) == ("bert", "tag"):  # the only one that transformers has
        assert fields["architectures"] == ["BertForTokenClassification"]
        theirs: Any = transformers.BertForTokenClassification.from_pretrained(tmp_path / "model")
        theirs.eval()
        scores = theirs(**padded(batch)).logits.reshape(-1, task.outputs)
        torch.testing.assert_close(model(batch), scores, rtol=0, atol=1e-5)
    else:
        assert fields["architectures"] == ["BertModel" if kind == "bert" else "ModernBertDecoderModel"]
        assert (tmp_path / "model" / "model.safetensors").read_bytes().count(OWN_HEAD.encode()) == 2
