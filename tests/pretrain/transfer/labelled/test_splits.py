from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.splits import read_splits


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in texts))
    return str(path)


def test_validation_and_test_are_a_tenth_each_and_equal_texts_stay_together(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [f"text {number % 500}" for number in range(1000)])
    splits = read_splits(TaskConfig(kind="classify", data=data))
    parts = [{record["text"] for record in part.records} for part in (splits.training, splits.validation, splits.test)]
    assert sum(map(len, parts)) == 500
    assert [pytest.approx(len(part) / 500, abs=0.04) for part in parts] == [0.8, 0.1, 0.1]
    assert len(splits.training) + len(splits.validation) + len(splits.test) == 1000


def test_separate_files_replace_splits(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [f"text {number}" for number in range(100)])
    other = write(tmp_path / "b.jsonl", ["b", "c"])
    task = TaskConfig(kind="classify", data=data)
    alone, both = read_splits(task), read_splits(task.model_copy(update={"test": other, "validation": other}))
    assert len(both.training) == 100
    assert [record["text"] for record in both.test.records] == ["b", "c"]
    with_test = read_splits(task.model_copy(update={"test": other}))
    assert len(with_test.training) + len(with_test.validation) == 100
    assert len(alone.training) < len(with_test.training)


def test_too_few_records_raise(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", ["one", "two"])
    with pytest.raises(UserError, match="too few records: there are none for"):
        read_splits(TaskConfig(kind="classify", data=data))


def test_a_number_for_each_record_is_a_regression(tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text("text,score\n" + "".join(f"text {number},{number / 7}\n" for number in range(40)))
    with pytest.raises(UserError, match=r"too few records: .*\. Set task\.regression=true, since nearly every record"):
        read_splits(TaskConfig(kind="classify", data=str(data)))
    assert len(read_splits(TaskConfig(kind="classify", data=str(data), regression=True)).test) == 4


def test_questions_of_a_context_stay_together(tmp_path: Path) -> None:
    answer = {"text": "context", "answer_start": 0}
    paragraphs = [
        {
            "context": f"context {number}",
            "qas": [{"id": f"{number}.{q}", "question": "?", "answers": [answer]} for q in range(3)],
        }
        for number in range(60)
    ]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    splits = read_splits(TaskConfig(kind="qa", data=str(tmp_path / "a.json")))
    contexts_of_parts = [
        {record["context"] for record in part.records} for part in (splits.training, splits.validation, splits.test)
    ]
    assert len(set.union(*contexts_of_parts)) == sum(map(len, contexts_of_parts)) == 60
