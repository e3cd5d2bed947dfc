from __future__ import annotations

from typing import Any

import pytest

from configs.errors import UserError
from configs.transfer import FinetuneConfig, TaskConfig
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.making import make_task, restore_task
from pretrain.transfer.tasks import Classification, MultiLabel, Regression, Tagging, Task
from tests.pretrain.runs import VOCAB

SETTINGS = FinetuneConfig(max_length=96, stride=8)


def made(kind: str, labels: list[Any], test: list[Any] | None = None, **fields: Any) -> Task:
    parts = [Records("here", [record_of(kind, label) for label in some]) for some in (labels, test or labels)]
    config = TaskConfig.model_validate({"kind": kind, "data": "-", **fields})
    return make_task(config, SETTINGS, VOCAB, Splits(parts[0], parts[0], parts[1]))


def record_of(kind: str, label: Any) -> dict[str, Any]:
    return {"tokens": ["good"], "labels": [label]} if kind == "tag" else {"text": "good", "label": label}


def test_the_kind_of_label_selects_the_task() -> None:
    assert isinstance(made("classify", ["a", "b"]), Classification)
    assert isinstance(made("classify", [["a"], []]), MultiLabel)
    assert isinstance(made("classify", [1.0, 2.0], regression=True), Regression)
    assert isinstance(made("tag", ["O", "B-x"]), Tagging)


def test_labels_of_all_parts_are_in_the_label_map() -> None:
    task = made("classify", ["a", "b"], ["c"])
    assert task.fields()["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert made("tag", ["O", "B-x"], ["I-x"]).fields()["label2id"] == {"B-x": 0, "I-x": 1, "O": 2}


@pytest.mark.parametrize(
    ("kind", "labels", "fields", "words"),
    [
        ("classify", ["a", "a"], {}, "all records have the label 'a': there is nothing to learn"),
        ("classify", [[], []], {}, "no record has a label"),
        ("tag", ["O", "O"], {}, "all tokens have the label 'O'"),
        ("classify", [2.0, 2.0], {"regression": True}, "all records have the label 2: there is nothing to learn"),
    ],
)
def test_nothing_to_learn_raises(kind: str, labels: list[Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        made(kind, labels, **fields)


def test_a_metric_is_one_of_the_task() -> None:
    assert made("classify", ["a", "b", "c"], metric="macro_f1").watched == "macro_f1"
    with pytest.raises(UserError, match=r"no metric 'f1'\. Choose one of accuracy, macro_f1, mcc"):
        made("classify", ["a", "b", "c"], metric="f1")
    with pytest.raises(UserError, match="Choose one of pearson, spearman"):
        made("classify", [1.0, 2.0], regression=True, metric="mse")


@pytest.mark.parametrize(
    ("kind", "labels", "fields"),
    [
        ("classify", ["a", "b"], {}),
        ("classify", [["a"], ["b"]], {}),
        ("classify", [1.0, 2.0], {"regression": True}),
        ("tag", ["O", "B-x"], {}),
    ],
)
def test_a_task_is_restored_from_its_state(kind: str, labels: list[Any], fields: dict[str, Any]) -> None:
    task = made(kind, labels, **fields)
    config = TaskConfig.model_validate({"kind": kind, "data": "-", **fields})
    again = restore_task(config, SETTINGS, VOCAB, task.state())
    assert type(again) is type(task)
    assert (again.fields(), again.state()) == (task.fields(), task.state())


@pytest.mark.parametrize(
    ("kind", "labels", "fields"),
    [
        ("classify", [["a"], ["b"]], {}),
        ("classify", [1.0, 2.0], {"regression": True}),
        ("tag", ["O", "B-x"], {}),
    ],
)
def test_class_weights_need_one_class_for_each_record(kind: str, labels: list[Any], fields: dict[str, Any]) -> None:
    weighted = SETTINGS.model_copy(update={"class_weights": "balanced"})
    records = Records("here", [record_of(kind, label) for label in labels])
    config = TaskConfig.model_validate({"kind": kind, "data": "-", **fields})
    with pytest.raises(UserError, match=r'do not have one class each\. Set it to "none" for this task'):
        make_task(config, weighted, VOCAB, Splits(records, records, records))
    make_task(config, SETTINGS, VOCAB, Splits(records, records, records))


def test_a_tag_is_restored_from_the_state_of_an_earlier_version() -> None:
    task = restore_task(TaskConfig(kind="tag", data="-"), SETTINGS, VOCAB, {"labels": ["B-x", "O"]})
    assert task.state()["values"] == ["B-x", "O"]
