from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from pretrain.transfer.tasks.choice import read_choices
from pretrain.transfer.tasks.readers import read_conll, read_squad, read_table


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_quotes_are_special_in_csv_and_ordinary_in_tsv(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label,more\n"one, two",x,1\n"a ""b""",y,2\n')
    assert read_table(path, ["text", "label"]).records == [
        {"text": "one, two", "label": "x"},
        {"text": 'a "b"', "label": "y"},
    ]
    path = write(tmp_path, "a.tsv", '\ufefflabel\ttext\r\nx\tsay "no\r\ny\t"yes"\r\n')
    assert [r["text"] for r in read_table(path, ["text"]).records] == ['say "no', '"yes"']


def test_read_jsonl_and_reject_malformed_files(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0, "x": 2}\n')
    assert [r["label"] for r in read_table(path, ["text", "label"]).records] == [1, 0]
    with pytest.raises(
        UserError,
        match=r"a\.jsonl, line 1: no column 'Text'\. it has 'text', 'label'",
    ):
        read_table(path, ["Text"])
    with pytest.raises(UserError, match="line 1: not JSON"):
        read_table(write(tmp_path, "b.jsonl", "text,label\n"), ["text"])
    with pytest.raises(UserError, match="not a JSON object"):
        read_table(write(tmp_path, "b.jsonl", "[1]\n"), ["text"])
    with pytest.raises(UserError, match="no records"):
        read_table(write(tmp_path, "b.csv", "text,label\n"), ["text"])
    with pytest.raises(UserError, match="cannot read"):
        read_table(tmp_path / "none.csv", ["text"])
    (tmp_path / "c.csv").write_bytes(b"text\n\xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_table(tmp_path / "c.csv", ["text"])


def test_short_row_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 3: no column 'label'"):
        read_table(write(tmp_path, "a.tsv", "text\tlabel\na\tx\nb\n"), ["text", "label"])


def test_conll_columns_and_separators(tmp_path: Path) -> None:
    path = write(tmp_path, "a.conll", "-DOCSTART- O\n\nParis NNP B-loc\nis VBZ O\n\t\nRome\tNNP\tB-loc")
    assert read_conll(path).records == [
        {"tokens": ["Paris", "is"], "labels": ["B-loc", "O"]},
        {"tokens": ["Rome"], "labels": ["B-loc"]},
    ]
    with pytest.raises(UserError, match=r"a\.conll, line 2: a token without a label"):
        read_conll(write(tmp_path, "a.conll", "Paris O\nis\n"))


def squad(*questions: dict[str, Any], context: str = "the cat sat on the cat") -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})


def test_squad_answers_not_at_their_offset_are_moved_or_dropped(tmp_path: Path) -> None:
    questions: list[dict[str, Any]] = [
        {"id": "right", "question": "?", "answers": [{"text": "cat", "answer_start": 4}]},
        {"id": "moved", "question": "?", "answers": [{"text": "cat", "answer_start": 17}]},
        {"id": "gone", "question": "?", "answers": [{"text": "dog", "answer_start": 4}]},
        {"id": "none", "question": "?", "answers": [], "is_impossible": True},
    ]
    made = read_squad(write(tmp_path, "a.json", squad(*questions)))
    assert [(r["id"], r["possible"], [a["start"] for a in r["answers"]]) for r in made.records] == [
        ("right", True, [4]),
        ("moved", True, [19]),
        ("none", False, []),
    ]
    assert made.treated == {
        "answers not at their offset: moved to the nearest place": 1,
        "answers that are not in their context: dropped": 1,
        "questions without a usable answer: dropped": 1,
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"data": [{}]}', squad({"id": "a", "question": "?", "answers": [{}]})])
def test_malformed_squad_raises(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="not in SQuAD's form"):
        read_squad(write(tmp_path, "a.json", text))


def test_read_choices_from_swag_and_jsonl(tmp_path: Path) -> None:
    header = "sent1,sent2,ending0,ending1,ending2,ending3,label\n"
    path = write(tmp_path, "a.csv", header + "He ran.,He,fell,won,sang,slept,1\n")
    assert read_choices(path).records == [
        {"context": "He ran.", "choices": ["He fell", "He won", "He sang", "He slept"], "label": 1}
    ]
    path = write(tmp_path, "a.jsonl", '{"context": "c", "choices": ["a", "b", "c"], "label": 2}\n')
    assert read_choices(path).records[0]["label"] == 2


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"context": "c", "choices": ["a", "b"], "label": 2}', "label '2' is not a choice's index"),
        ('{"context": "c", "choices": ["a", "b"], "label": "first"}', "label 'first' is not a choice's index"),
        ('{"context": "c", "choices": ["a"], "label": 0}', "not a list of two or more"),
    ],
)
def test_invalid_choices_raise(tmp_path: Path, record: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_choices(write(tmp_path, "a.jsonl", record + "\n"))
