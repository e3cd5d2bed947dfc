"""JSON lines as people have them: nested fields, paragraphs, several fields, huge integers, odd values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.formats.json_lines import text_of_object
from preprocessing.documents.input_files import ReadCounter

DROPPED = ("", "no_text_field")


def text(value: Any, *fields: str) -> tuple[str, str]:
    line = value if isinstance(value, str) else json.dumps(value)
    return text_of_object(
        line, CorpusConfig(paths=["a"], format="jsonl", text_field=list(fields) or "text"), "a, byte 0"
    )


def read(path: Path) -> list[str]:
    corpus = CorpusConfig(paths=[str(path)], format="jsonl")
    lines = FORMATS["jsonl"].blocks(str(path), 0, 1 << 40, corpus, ReadCounter())
    return [text_of_object(line.decode(), corpus, place)[0] for place, line in lines if isinstance(line, bytes)]


def test_nested_fields_are_found_by_their_path() -> None:
    assert text({"content": {"text": "one", "id": 7}}, "content.text") == ("one", "")
    assert text({"a": {"b": {"c": "one"}}}, "a.b.c") == ("one", "")
    assert text({"content.text": "one", "content": {"text": "two"}}, "content.text") == ("one", "")
    assert text({"content": "one"}, "content.text") == DROPPED
    assert text({"content": {"title": "one"}}, "content.text") == DROPPED


def test_paragraphs_are_joined_by_line_ends() -> None:
    assert text({"text": ["one", None, "two"]}) == ("one\ntwo", "")
    assert text({"text": [["one"], ["two", "three"]]}) == ("one\ntwo\nthree", "")
    assert text({"text": [{"p": "one"}, {"p": "two"}]}, "text.p") == ("one\ntwo", "")
    assert text({"text": []}) == ("", "")


def test_null_inside_of_a_list_is_no_paragraph() -> None:
    rows = [{"p": "one"}, {"p": None}, None, {"p": "two"}]
    assert text({"text": rows}, "text.p") == ("one\ntwo", "")
    assert text({"text": [{"p": {"q": "one"}}, {"p": None}]}, "text.p.q") == ("one", "")
    assert text({"text": [{"p.q": None}, {"p.q": "one"}]}, "text.p.q") == ("one", "")
    assert text({"text": [{"p": "one"}, {"other": None}]}, "text.p") == DROPPED


def test_values_that_are_not_text_hold_no_text() -> None:
    for value in (None, 7, True, {"text": "x"}, ["one", 7], ["one", {"p": "two"}]):
        assert text({"text": value}) == DROPPED


def test_several_fields_are_joined_in_the_order_of_the_recipe() -> None:
    row = {"body": ["one", "two"], "title": "T", "meta": {"lead": "L"}}
    assert text(row, "title", "meta.lead", "body") == ("T\nL\none\ntwo", "")
    assert text({"body": "one"}, "title", "body") == ("one", "")
    assert text({"other": "one"}, "title", "body") == DROPPED


def test_huge_integers_in_other_fields_are_read() -> None:
    assert text('{"id": %s, "text": "one"}' % ("9" * 5_000)) == ("one", "")
    assert text('{"text": %s}' % ("9" * 5_000)) == DROPPED
    assert text('{"id": %s, "text": "one"' % ("9" * 5_000)) == ("", "broken_json")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"text": "one", "text": "two"}', ("two", "")),
        ('{"text": "one", "score": NaN}', ("one", "")),
        ("7", DROPPED),
        ('"text"', DROPPED),
        ("null", DROPPED),
        ('{"text": ' + "[" * 3_000 + '"deep"' + "]" * 3_000 + "}", ("", "broken_json")),
        ('{"text": ' + '{"text":' * 900 + '"deep"' + "}" * 900 + "}", DROPPED),
    ],
)
def test_odd_json_is_read_or_dropped(line: str, found: tuple[str, str]) -> None:
    assert text(line) == found


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_named_and_the_fix_works(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": "one"}, {"text": "two"}], indent=indent))
    with pytest.raises(UserError, match="a JSON array, not JSON lines") as raised:
        read(path)
    assert (raised.value.place, "jq -c '.[]'" in raised.value.fix) == (str(path), True)


def test_objects_over_several_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps({"text": "one"}, indent=2) + "\n" + json.dumps({"text": "two"}, indent=2))
    with pytest.raises(UserError, match="JSON over several lines, not one object a line") as raised:
        read(path)
    assert "jq -c . " in raised.value.fix


def test_a_first_line_that_is_a_list_is_not_taken_for_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('["header"]\n{"text": "one"}\n')
    assert read(path) == ["", "one"]
