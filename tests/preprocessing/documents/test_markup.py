"""Markup that would be read as plain text is named, with the format that reads it."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from configs.schema import CorpusConfig
from preprocessing.documents import warn_of_markup
from preprocessing.documents.input_files import SourceFile
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import make_documents, small_config, wikipedia_xml

ARTICLE = '<doc id="1" url="https://a.example/1" title="One">\nOne\n\nIt is a number.\n\n</doc>\n'
PAGE = "<!DOCTYPE html>\n<html><body><p>It is a page.</p></body></html>\n"
PARAGRAPHS = '<p class="x">A short sentence.</p>\n' * 30
SENTENCE = "A tag such as <p> or <br/> begins a paragraph or a line in HTML, as its authors know, who write many. "


def warnings_of(path: Path, content: str, caplog: pytest.LogCaptureFixture, form: str = "text") -> str:
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": form})
    with caplog.at_level(logging.WARNING):
        warn_of_markup([SourceFile(str(path), path.stat().st_size)], corpus)
    return caplog.text


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
@pytest.mark.parametrize(
    ("content", "kind", "fix"),
    [
        (ARTICLE, "output of WikiExtractor", 'format = "wikiextractor"'),
        ("\ufeff\n" + ARTICLE, "output of WikiExtractor", 'format = "wikiextractor"'),
        (wikipedia_xml([("One", "It is a number.")]), "a MediaWiki dump", 'format = "wikipedia"'),
        (json.dumps({"text": "one"}) + "\n", "JSON", 'format = "jsonl"'),
        (json.dumps({"text": "one"}, indent=1), "JSON", 'format = "jsonl"'),
        (PAGE, "HTML", "extract its text"),
        (PAGE.lower(), "HTML", "extract its text"),
        (PARAGRAPHS, "HTML", "extract its text"),
    ],
)
def test_markup_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, kind: str, fix: str
) -> None:
    text = warnings_of(tmp_path / name, content, caplog)
    assert f"this is probably {kind}, whose markup becomes text" in text
    assert fix in text


@pytest.mark.parametrize(
    "content", ["", "Plain text.\n", SENTENCE * 200, "{ a set } and {b: 1}", "<docs> and a < b > c"]
)
def test_text_is_not_markup(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    assert warnings_of(tmp_path / "a.txt", content, caplog) == ""


def test_the_right_format_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(tmp_path / "a.txt", ARTICLE, caplog, "wikiextractor") == ""


def test_a_preparation_warns_once_a_corpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    for number, text in enumerate(make_documents(60)):
        (tmp_path / "in" / f"{number}.html").write_text(f"<html><body><p>{text}</p></body></html>")
    corpora = [{"paths": [str(tmp_path / "in")], "format": "files"}]
    with caplog.at_level(logging.WARNING):
        prepare(small_config(tmp_path / "data", tmp_path, corpora=corpora, dupe_factor=1))
    assert caplog.text.count("this is probably HTML") == 1
