"""One reading of texts and labels, for all files and tasks of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.label_set import SPELLINGS, LabelSet
from pretrain.transfer.labelled.texts import read_choices, read_texts_of
from pretrain.transfer.labelled.values import label_name


def task(**fields: Any) -> TaskConfig:
    return TaskConfig.model_validate({"kind": "classify", "data": "-"} | fields)


def lines(folder: Path, *records: dict[str, Any]) -> Path:
    (folder / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / "a.jsonl"


def table(folder: Path, text: str) -> Path:
    (folder / "a.csv").write_text(text)
    return folder / "a.csv"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([1, 1.0, "1", " 1 ", "1.0", "+1"], "1"),
        ([0, -0.0, "0", "0.00"], "0"),
        ([True, "true", "True", "TRUE"], "true"),
        (["neg", " neg", "neg\t"], "neg"),
        (["two words", "two  words"], "two words"),
        (["neg", "neg\u200b", "\ufeffneg", "neg \u200e", "neg\u00a0"], "neg"),
        (["caf\u00e9", "cafe\u0301"], "caf\u00e9"),
        ([None, "", "  ", "\u200b", "NaN", "nan", float("nan"), "null", "<NA>", "-"], None),
        ([0.5, "0.50"], "0.5"),
        (["01"], "01"),
        (["None"], "None"),
        ([2**60 + 1], str(2**60 + 1)),
    ],
)
def test_spellings_of_one_label_are_one(values: list[Any], name: str | None) -> None:
    assert {label_name(value) for value in values} == {name}


def test_labels_keep_the_type_of_the_data_and_spellings_are_counted(tmp_path: Path) -> None:
    given = [0, 1, 0.0, "1", "0 "]
    made = read_texts_of(lines(tmp_path, *({"text": "a", "label": label} for label in given)), task())
    labels = LabelSet.of({"training": made})
    assert (labels.names, labels.values) == (["0", "1"], {"0": 0, "1": 1})
    assert labels.counts["training"] == {"0": 3, "1": 2}
    assert made.treated == {SPELLINGS: 3}


def test_labels_are_ordered_by_number(tmp_path: Path) -> None:
    path = lines(tmp_path, *({"text": "a", "label": label} for label in (10, 9, -1, "x")))
    assert LabelSet.of({"training": read_texts_of(path, task())}).names == ["-1", "9", "10", "x"]


def test_a_record_without_a_label_is_refused_with_its_line_or_dropped_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\na,1\nb,\nc,NaN\nd,0\n")
    with pytest.raises(UserError, match=r"a\.csv, line 3: no label in column 'label'.*task\.bad_records=drop"):
        read_texts_of(path, task())
    made = read_texts_of(path, task(bad_records="drop"))
    assert [record["label"] for record in made.records] == ["1", "0"]
    assert made.dropped == {"no label in column 'label'": 2}


def test_records_of_another_number_of_fields_are_dropped_if_wanted(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\na,1\nb, c,1\nd,0\n")
    with pytest.raises(UserError, match="line 3: 3 fields separated by commas, but the header names 2"):
        read_texts_of(path, task())
    made = read_texts_of(path, task(bad_records="drop"))
    assert (len(made), made.dropped.total()) == (2, 1)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"text": None, "label": 1}, "no text in column 'text'"),
        ({"text": {"a": 1}, "label": 1}, "an object instead of a text .* Write each field of the object as a column"),
        ({"text": ["a", 1], "label": 1}, "a list instead of a text"),
        ({"text": True, "label": 1}, "true or false instead of a text"),
        ({"text": "a", "label": {"b": 1}}, "an object instead of a label .* Write each field of the object as a col"),
        ({"text": "a", "label": ["b"]}, "a list instead of a label"),
        ({"text": "a"}, "no label"),
    ],
)
def test_what_is_no_text_or_label_is_refused(record: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"line 2: {words}"):
        read_texts_of(lines(tmp_path, {"text": "a", "label": "x"}, record), task())


def test_lists_of_tokens_are_texts(tmp_path: Path) -> None:
    made = read_texts_of(lines(tmp_path, {"text": ["the", "bank"], "label": 1}, {"text": 7, "label": 1}), task())
    assert [record["text"] for record in made.records] == ["the bank", "7"]
    assert made.treated == {"texts that are lists of tokens: joined by spaces": 1}


def test_lists_of_labels_are_several_labels(tmp_path: Path) -> None:
    path = lines(tmp_path, {"text": "a", "label": ["y", "x"]}, {"text": "b", "label": []}, {"text": "c", "label": [2]})
    made = read_texts_of(path, task())
    assert [record["label"] for record in made.records] == [["x", "y"], [], ["2"]]
    labels = LabelSet.of({"training": made})
    assert (labels.names, labels.values["2"]) == (["2", "x", "y"], 2)


@pytest.mark.parametrize(
    ("label", "words"), [("x", "one label, 'x'"), ([0, 1, 1], "names a label twice"), ([None], "no label")]
)
def test_bad_lists_of_labels_are_refused(label: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"line 2: .*{words}"):
        read_texts_of(lines(tmp_path, {"text": "a", "label": ["x"]}, {"text": "b", "label": label}), task())


def test_numbers_of_a_regression(tmp_path: Path) -> None:
    regression = task(regression=True)
    made = read_texts_of(table(tmp_path, "text,label\na,0.5\nb, 2\n"), regression)
    assert [record["label"] for record in made.records] == [0.5, 2.0]
    made = read_texts_of(table(tmp_path, "text;label\na;0,5\nb;1.25\n"), regression)
    assert [record["label"] for record in made.records] == [0.5, 1.25]
    for value in ("x", "nan", "inf", "", '"0,5"'):
        with pytest.raises(UserError, match=r"line 3: the label .* is not a number"):
            read_texts_of(table(tmp_path, f"text,label\na,1\nb,{value}\n"), regression)
    with pytest.raises(UserError, match="not a number"):
        read_texts_of(lines(tmp_path, {"text": "a", "label": True}), regression)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ("sentence1,sentence2,label", ("sentence1", "sentence2")),
        ("premise,hypothesis,label", ("premise", "hypothesis")),
        ("text_a,text_b,label", ("text_a", "text_b")),
        ("Question1,Question2,is_duplicate", ("Question1", "Question2")),
        ("question,sentence,label", ("question", "sentence")),
        ("text,text_b,label,sentence1,sentence2", ("text", "text_b")),
    ],
)
def test_usual_names_of_pairs(columns: str, found: tuple[str, str], tmp_path: Path) -> None:
    header = columns.split(",")
    path = table(tmp_path, f"{columns}\n{','.join(f'v{n}' for n in range(len(header)))}\n")
    (record,) = read_texts_of(path, task(kind="pair")).records
    assert (record["text"], record["text_b"]) == tuple(f"v{header.index(name)}" for name in found)


@pytest.mark.parametrize(
    ("fields", "header", "words"),
    [
        ({"text": "Text"}, "text,label", "no column 'Text'. It has 'text', 'label'; .* set task.text"),
        ({}, "body,label", "no column for the text. It has 'body', 'label'"),
        ({}, "text,sentiment_of_it", "no column for the label.*`bertrain predict MODEL FILE`"),
        ({}, "sentence,review,label", "several columns can be the text: sentence, review"),
        ({}, "text,label,label", "two columns are named 'label'"),
        ({"kind": "pair"}, "text,label", "no pair of text columns"),
        ({"kind": "pair"}, "premise,hypothesis,sentence1,sentence2,label", "several pairs of text columns"),
    ],
)
def test_columns_that_cannot_be_found_are_refused(
    fields: dict[str, Any], header: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        read_texts_of(table(tmp_path, f"{header}\n{','.join('a' * len(header.split(',')))}\n"), task(**fields))


def test_files_without_labels_are_read_for_predictions(tmp_path: Path) -> None:
    made = read_texts_of(table(tmp_path, "id,text\n7,a\n"), task(), labelled=False)
    assert (made.records, made.rows) == ([{"text": "a"}], [{"id": "7", "text": "a"}])


def test_read_choices_from_swag_and_jsonl(tmp_path: Path) -> None:
    header = "sent1,sent2,ending0,ending1,ending2,ending3,label\n"
    path = table(tmp_path, header + "He ran.,He,fell,won,sang,slept,1\n")
    assert read_choices(path, task(kind="choice")).records == [
        {"context": "He ran.", "choices": ["He fell", "He won", "He sang", "He slept"], "label": 1}
    ]
    path = lines(tmp_path, {"context": "c", "choices": ["a", "b", "c"], "label": 2})
    assert read_choices(path, task(kind="choice")).records[0]["label"] == 2


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"context": "c", "choices": ["a", "b"], "label": 2}, "label 2 is not a choice's index"),
        ({"context": "c", "choices": ["a", "b"], "label": "first"}, "label 'first' is not a choice's index"),
        ({"context": "c", "choices": ["a"], "label": 0}, "not a list of two or more"),
        ({"choices": ["a", "b"], "label": 0}, "no text in column 'context'"),
    ],
)
def test_invalid_choices_raise(record: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"line 1: .*{words}"):
        read_choices(lines(tmp_path, record), task(kind="choice"))


def test_records_that_a_stray_quotation_mark_joins_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{number % 2},film {number}\n" for number in range(30))
    made = read_texts_of(table(tmp_path, f'label,text\n1,"film\n{rows}0,the last"\n1,"two\nlines"\n'), task())
    assert len(made) == 2
    assert made.treated == {"records of more than 20 lines: check their quotation marks": 1}
