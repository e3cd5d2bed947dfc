from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from pretrain.transfer.labelled.squad import read_squad


def write(folder: Path, text: str) -> Path:
    (folder / "a.json").write_text(text, encoding="utf-8")
    return folder / "a.json"


def squad(*questions: dict[str, Any], context: str = "the cat sat on the cat") -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})


def test_answers_not_at_their_offset_are_moved_or_dropped(tmp_path: Path) -> None:
    questions: list[dict[str, Any]] = [
        {"id": "right", "question": "?", "answers": [{"text": "cat", "answer_start": 4}]},
        {"id": "moved", "question": "?", "answers": [{"text": "cat", "answer_start": 17}]},
        {"id": "gone", "question": "?", "answers": [{"text": "dog", "answer_start": 4}]},
        {"id": "none", "question": "?", "answers": [], "is_impossible": True},
    ]
    made = read_squad(write(tmp_path, squad(*questions)))
    assert [(r["id"], r["possible"], [a["start"] for a in r["answers"]]) for r in made.records] == [
        ("right", True, [4]),
        ("moved", True, [19]),
        ("none", False, []),
    ]
    assert made.treated == {
        "answers not at their offset: moved to the nearest place": 1,
        "answers that are not in their context: dropped": 1,
    }
    assert made.dropped == {"questions without a usable answer": 1}


@pytest.mark.parametrize("text", ["{", "[1]", '{"data": [{}]}', squad({"id": "a", "question": "?", "answers": [{}]})])
def test_malformed_squad_raises(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="not in SQuAD's form"):
        read_squad(write(tmp_path, text))


def test_questions_without_answers_are_for_predictions(tmp_path: Path) -> None:
    path = write(tmp_path, squad({"id": "q0", "question": "Who?"}))
    with pytest.raises(UserError, match=r"the question 'q0' has no `answers`.*`bertrain predict MODEL FILE`"):
        read_squad(path)
    assert [record["id"] for record in read_squad(path, labelled=False).records] == ["q0"]


ROWS = [
    {"id": "a", "context": "the cat", "question": "?", "answers": {"text": ["cat"], "answer_start": [4]}},
    {"id": "b", "context": "the cat", "question": "?", "answers": {"text": [], "answer_start": []}},
]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "array"])
def test_rows_as_datasets_publishes_them(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text("\n".join(map(json.dumps, ROWS)) if form == "jsonl" else json.dumps(ROWS))
    made = read_squad(path).records
    assert made[0]["answers"] == [{"text": "cat", "start": 4}]
    assert [record["possible"] for record in made] == [True, False]
