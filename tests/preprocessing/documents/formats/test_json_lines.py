"""JSON lines as people have them: nested fields, paragraphs, several fields, huge integers, odd values."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS, boundaries
from preprocessing.documents.formats.json_lines import text_of_object
from preprocessing.documents.input_files import ReadCounter

DROPPED = ("", "no_text_field")


def text(value: Any, *fields: str) -> tuple[str, str]:
    line = value if isinstance(value, str) else json.dumps(value)
    return text_of_object(
        line, CorpusConfig(paths=["a"], format="jsonl", text_field=list(fields) or "text"), "a, byte 0"
    )


def read(path: Path, start: int = 0, end: int = 1 << 40) -> list[str]:
    corpus = CorpusConfig(paths=[str(path)], format="jsonl")
    lines = FORMATS["jsonl"].blocks(str(path), start, end, corpus, ReadCounter())
    found = [text_of_object(line.decode(), corpus, place) for place, line in lines if isinstance(line, bytes)]
    return [text or cause for text, cause in found]


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as raised:
        read(path)
    assert raised.value.place == str(path)
    return raised.value


def convert(path: Path, error: UserError) -> list[str]:
    """The texts of the file that the fix of the error makes."""
    command = error.fix.partition("for example with ")[2]
    if shutil.which("jq") is None and "jq" in command:
        pytest.skip("jq is not installed")
    subprocess.run(["bash", "-c", command], check=True)
    return read(Path(shlex.split(command)[-1]))


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


ONE, TWO = '{"text": "one"}', '{"text": "a } { b", "more": {"c": [{}, {}]}}'


@pytest.mark.parametrize(
    "content",
    [
        f"{ONE}\r{TWO}\r{ONE}\r",
        f"{ONE}\r\n{TWO}\r\n{ONE}",
        f"{ONE}{TWO}{ONE}",
        f"{ONE} {TWO}\n{ONE}\n",
        f"\x1e{ONE}\n\x1e{TWO}\n\x1e{ONE}\n",
        f"\ufeff\x1e{ONE}\x1e{TWO}\x1e{ONE}",
        f"{json.dumps(json.loads(ONE), indent=1)}\n{TWO}\n{ONE}\n".replace("\n", "\r"),
    ],
)
def test_objects_are_read_whatever_parts_them(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content.encode())
    assert read(path) == ["one", "a } { b", "one"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (f'{ONE}\r{{"text": "two\r{ONE}\r', ["one", "broken_json", "one"]),
        (f'\x1e{ONE}\n\x1e{{"text": "tw\n\x1e{ONE}\n', ["one", "broken_json", "one"]),
        (f"{ONE}{TWO} and more\n{ONE}", ["one", "broken_json", "one"]),
        (f"{ONE} and more\n{ONE}", ["broken_json", "one"]),
        ('{"text": "x}{y"}\n{"text": "}\r{"}', ["x}{y", "}\r{"]),
        ('{"id": %s, "text": "a"}{"text": "b"}' % ("9" * 5_000), ["a", "b"]),
    ],
)
def test_a_broken_object_ends_at_the_next_separator(tmp_path: Path, content: str, texts: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content.encode())
    assert read(path) == texts


def test_a_line_of_many_broken_objects_takes_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(ONE + '\r{"a' * 400_000 + "\n" + ONE)
    assert read(path) == ["one", *["broken_json"] * 100, "one"]


def test_sections_yield_each_object_of_a_line_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = f"{ONE}{ONE}\n{TWO}\n\x1e{ONE}\n".encode()
    path.write_bytes(content)
    for cut in range(1, len(content)):
        assert [*read(path, 0, cut), *read(path, cut)] == ["one", "one", "a } { b", "one"]


def test_bytes_that_are_no_text_stay_beside_objects_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "\xff"}{"text": "b"}')
    corpus = CorpusConfig(paths=[str(path)], format="jsonl")
    blocks = FORMATS["jsonl"].blocks(str(path), 0, 1 << 40, corpus, ReadCounter())
    assert [block for _, block in blocks] == [b'{"text": "\xff"}', b'{"text": "b"}']


@pytest.mark.parametrize("pack", [None, gzip.compress])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps([{"text": "one"}, {"text": "two"}]), "a JSON array, not JSON lines"),
        (json.dumps([{"text": "one"}, {"text": "two"}], indent=2), "a JSON array, not JSON lines"),
        ('\ufeff{\n"text": "one"\n}\n{\n"text": "two"\n}', "JSON over several lines, not one object a line"),
        ('\x1e{\n"text": "one"}\n\x1e{\n"text": "two"}\n', "a JSON text sequence (RFC 7464) of objects over several"),
        ('{"text": "one"},\n{"text": "two"}\n', "objects with a comma behind each, not JSON lines"),
        ("{'text': 'one'}\n{'text': 'two'}\n", "Python's notation of dictionaries, not JSON"),
    ],
)
def test_other_notation_is_named_and_the_fix_works(
    tmp_path: Path, content: str, kind: str, pack: Callable[[bytes], bytes] | None
) -> None:
    path = tmp_path / ("a b.json.gz" if pack else "a b.json")
    path.write_bytes(pack(content.encode()) if pack else content.encode())
    error = refusal(path)
    assert kind in error.cause
    assert convert(path, error) == ["one", "two"]


def test_a_line_that_is_too_long_says_how_to_write_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "MAX_DOCUMENT_BYTES", 1_000)
    path = tmp_path / "a.json"
    path.write_text(ONE * 100)
    with pytest.raises(UserError, match="a document is larger than") as raised:
        read(path)
    advice = f"write one object a line, for example with cat {path} | jq -c . > {path}l"
    assert raised.value.fix == f"divide the document; or if the line holds several objects, {advice}"


def test_a_first_line_that_is_a_list_is_not_taken_for_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('["header"]\n{"text": "one"}\n')
    assert read(path) == ["no_text_field", "one"]
