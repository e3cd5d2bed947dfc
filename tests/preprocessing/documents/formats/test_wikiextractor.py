"""WikiExtractor's output is unescaped once, in <doc> elements and in JSON lines."""

from __future__ import annotations

import html
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

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


def read(path: Path, cuts: list[int]) -> list[str]:
    corpus = CorpusConfig(paths=[str(path)], format="wikiextractor")
    form = FORMATS["wikiextractor"]
    size = path.stat().st_size
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < size}), size]
    blocks = (
        block for start, end in pairwise(bounds) for block in form.blocks(str(path), start, end, corpus, ReadCounter())
    )
    return [
        form.text_of(block.decode(), corpus, place)[0].strip() for place, block in blocks if isinstance(block, bytes)
    ]


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
