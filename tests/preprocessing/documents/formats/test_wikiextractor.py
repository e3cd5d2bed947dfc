"""WikiExtractor's output is unescaped once, in <doc> elements and in JSON lines."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter

ARTICLES = ["x < 5 and R&D", "shows &nbsp; and &lt; as such", "<br> & <ref>", 'says "no"', "plain"]


def write(path: Path, articles: list[str], *, as_json: bool) -> Path:
    """The articles as WikiExtractor writes them: html.escape(text, quote=False)."""
    escaped = [html.escape(article, quote=False) for article in articles]
    if as_json:
        lines = [json.dumps({"id": str(n), "url": "u", "title": "t", "text": text}) for n, text in enumerate(escaped)]
    else:
        lines = [f'<doc id="{n}" url="u?a=1&b=2" title="A & B">\n{text}\n\n</doc>' for n, text in enumerate(escaped)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


CORPUS = CorpusConfig(paths=["wiki_00"], format="wikiextractor")
FORM = FORMATS["wikiextractor"]


def blocks(path: Path, cuts: list[int]) -> Iterator[tuple[str, bytes | str]]:
    size = path.stat().st_size
    for start, end in pairwise([0, *sorted({cut for cut in cuts if 0 < cut < size}), size]):
        yield from FORM.blocks(str(path), start, end, CORPUS, ReadCounter())


def read(path: Path, cuts: list[int]) -> list[str]:
    found = [(place, block) for place, block in blocks(path, cuts) if isinstance(block, bytes)]
    return [FORM.text_of(block.decode(), CORPUS, place)[0].strip() for place, block in found]


def causes(path: Path, cuts: list[int]) -> list[str]:
    return [block for _, block in blocks(path, cuts) if isinstance(block, str)]


@pytest.mark.parametrize("as_json", [False, True])
def test_each_article_is_unescaped_once(tmp_path: Path, as_json: bool) -> None:
    assert read(write(tmp_path / "wiki_00", ARTICLES, as_json=as_json), []) == ARTICLES


@given(st.booleans(), st.lists(st.integers(0, 600), max_size=4))
def test_articles_are_read_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, as_json: bool, cuts: list[int]
) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "wiki_00", ARTICLES, as_json=as_json)
    assert read(path, cuts) == ARTICLES


def test_escapes_of_an_escaping_writer_that_quotes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wiki_00"
    path.write_text('<doc id="1" url="" title="">\n&quot;no&quot;, it&#x27;s &amp;quot;\n</doc>\n')
    assert read(path, []) == ['"no", it\'s &quot;']


@given(st.lists(st.integers(0, 600), max_size=4))
def test_text_outside_of_articles_is_counted_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = write(tmp_path_factory.mktemp("gaps") / "wiki_00", ARTICLES, as_json=False)
    text = path.read_text(encoding="utf-8").replace("</doc>", "</doc>\nLost between two articles.", 2)
    path.write_text(f"Lost before the first.\n{text}Lost after the last.\n", encoding="utf-8")
    assert causes(path, cuts) == ["outside_of_articles"] * 4
    assert read(path, cuts) == ARTICLES


@pytest.mark.parametrize("content", ["Plain text.\n\nMore of it.\n" * 90, '<DOC id="1">\nText.\n</DOC>\n'])
def test_a_file_without_articles_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "wiki_00").write_text(content)
    with pytest.raises(UserError, match="no <doc id="):
        read(tmp_path / "wiki_00", [])


@pytest.mark.parametrize("content", ["", "\ufeff", "\n \n"])
def test_an_empty_file_holds_no_articles(tmp_path: Path, content: str) -> None:
    (tmp_path / "wiki_00").write_text(content, encoding="utf-8")
    assert (read(tmp_path / "wiki_00", []), causes(tmp_path / "wiki_00", [])) == ([], [])
