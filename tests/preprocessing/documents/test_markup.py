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


SRT = "".join(
    f"{number}\n00:00:{number:02},000 --> 00:00:{number:02},900\nA line that somebody says.\n\n"
    for number in range(1, 40)
)
VTT = "WEBVTT\n\n" + SRT.replace(",", ".")
MAIL = """Return-Path: <a@a.example>
Received: from a.example (a.example [192.0.2.1])
\tby b.example; Sun, 29 Nov 2026 10:00:00 +0000
From: A <a@a.example>
Subject: A letter

This is what it says. It is short.
"""
MAILBOX = f"From a@a.example Sun Nov 29 10:00:00 2026\n{MAIL}\n" * 3
TEX = "% a comment\n\\documentclass{article}\n\\begin{document}\nIt is a text.\n\\end{document}\n"
CHAPTER = "The \\emph{first} theorem \\cite{a} says that $x > 1$ holds in all cases that we know of. \\label{b}\n" * 20
PYTHON = Path(__file__).read_text(encoding="utf-8")
HEADER = (
    "#include <a.h>\n\nstatic int f(int a) {\n    if (a > 1) {\n        return g(a);\n    }\n    return 0;\n}\n" * 9
)
TABLE = "name,text\n" + "one,A text that is in a table.\n" * 9
LAW = (
    "(a) the goods that the seller delivers;\n(b) the price that the buyer pays;\n(c) the terms { of this law };\n" * 30
)
LETTERS = (
    "From: the king\nTo: the queen\n\nI write to you; do not wait.\n\n" + "It is a long story, as all know.\n" * 60
)
PLAY = "ACT I\n\nKING: Who comes there: a friend?\nQUEEN: It is I, my lord (as you see).\n" * 40


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


@pytest.mark.parametrize("name", ["a{}", "a.txt", "a{}.gz", "A.TXT"])
@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".srt", SRT, "subtitles, whose timing becomes text"),
        (".vtt", VTT, "subtitles, whose timing becomes text"),
        (".eml", MAIL, "e-mail, whose header becomes text"),
        (".mbox", MAILBOX, "e-mail, whose header becomes text"),
        (".tex", TEX, "TeX, whose markup becomes text"),
        (".tex", CHAPTER, "TeX, whose markup becomes text"),
        (".py", PYTHON, "source code, whose syntax becomes text"),
        (".h", HEADER, "source code, whose syntax becomes text"),
        (".rtf", "{\\rtf1\\ansi A text.}", "RTF, whose markup becomes text"),
        (".xml", '<?xml version="1.0"?>\n<TEI><p>A text.</p></TEI>', "XML, whose markup becomes text"),
    ],
)
def test_what_is_no_prose_is_named_with_and_without_its_suffix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, suffix: str, content: str, message: str
) -> None:
    assert f"this is probably {message}" in warnings_of(tmp_path / name.format(suffix), content, caplog)


def test_tables_are_named_by_their_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert 'a table, whose layout becomes text under format = "text"' in warnings_of(tmp_path / "a.csv", TABLE, caplog)
    caplog.clear()
    assert warnings_of(tmp_path / "a.txt", TABLE, caplog) == ""


def test_each_kind_in_a_corpus_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contents = {f"{number:03}.txt": "Plain text.\n" for number in range(90)}
    contents |= {"041.srt": SRT, "042.srt": SRT, "051.py": PYTHON, "061.tex": "Plain text.\n"}
    files = []
    for name, content in sorted(contents.items()):
        (tmp_path / name).write_text(content)
        files.append(SourceFile(str(tmp_path / name), len(content)))
    with caplog.at_level(logging.WARNING):
        warn_of_markup(files, CorpusConfig(paths=[str(tmp_path)], format="files"))
    assert [record.args[:2] for record in caplog.records if isinstance(record.args, tuple)] == [
        (str(tmp_path / "041.srt"), "subtitles"),
        (str(tmp_path / "051.py"), "source code"),
    ]


@pytest.mark.parametrize(
    "content", [LAW, LETTERS, PLAY, "", "Plain text.\n", SENTENCE * 200, "{ a set } and {b: 1}", "<docs> and a < b > c"]
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
