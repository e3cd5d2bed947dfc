"""Both loops learn a task that can be learned, from the same folder, records and settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.tasks import BudgetedTask
from configs.transfer import Kind
from pretrain.hugging_face import write_hugging_face
from pretrain.transfer.readers import Records
from tests.benchmarks.transfer.trainer_loop import Plain, compare
from tests.pretrain.runs import VOCAB
from tests.pretrain.transfer.test_finetuning import CONFIG, SETTINGS, SOURCE, some_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = {name: weight.detach() for name, weight in SOURCE.weights.items() if name.startswith("bert.")}
    (tmp_path / "model").mkdir()
    write_hugging_face(tmp_path / "model", CONFIG, VOCAB, encoder)
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_both_loops_learn(folder: Path, tmp_path: Path, kind: Kind) -> None:
    records = some_records(300, 1).records
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    sentences = [record["text"].split() for record in records]
    named = {"good": "B-good", "bad": "B-bad"}
    (tmp_path / "tokens.conll").write_text(
        "".join("".join(f"{word} {named.get(word, 'O')}\n" for word in words) + "\n" for words in sentences)
    )
    data = tmp_path / ("tokens.conll" if kind == "tag" else "texts.jsonl")
    settings = SETTINGS.model_copy(update={"epochs": 8, "patience": 8})
    made = compare(folder, BudgetedTask(name="task", kind=kind, data=str(data), records=200, finetune=settings))
    assert made["ours"]["mean"] > 0.9
    assert made["theirs"]["mean"] > 0.9
    assert made["difference"] == pytest.approx(made["ours"]["mean"] - made["theirs"]["mean"], abs=1e-4)


def test_what_is_decayed_and_labelled_is_what_ours_has(folder: Path) -> None:
    records = Records("here", [{"tokens": ["bankx", "good"], "labels": ["O", "B-x"]}])
    plain = Plain(folder, BudgetedTask(kind="tag", data="-", finetune=SETTINGS), records)
    (feature,) = plain.features(records)
    assert feature["labels"] == [-100, 1, -100, 0, -100]  # bank ##x good
    decayed, others = (group["params"] for group in plain.parameters_of(plain.model()))
    assert all(weight.dim() > 1 for weight in decayed)
    assert all(weight.dim() == 1 for weight in others)
