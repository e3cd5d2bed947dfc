"""Measure how fast one core converts wikitext to text, beside mwparserfromhell on the same pages.

    python -m tests.benchmarks.wikitext --dump dump.xml.bz2 [more.xml.bz2 ...] [--megabytes 8]

Rates are MB of wikitext (as UTF-8) per CPU-second, ours the best of three. mwparserfromhell, with its tokenizer in C,
parses and calls `strip_code`. Both convert the first pages of the dumps, up to `--megabytes`; reading them is not
measured. `ratio` is our rate over its rate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mwparserfromhell

from configs.schema import DataConfig
from preprocessing.corpus.cleaning import text_of_page
from preprocessing.corpus.wikitext import UnparsableError
from preprocessing.documents.file_search import find_files
from preprocessing.documents.plan import make_plan
from preprocessing.documents.progress import Monitor
from preprocessing.documents.reader import Document, read_item
from preprocessing.storage import store_at

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", required=True, nargs="+", help="a MediaWiki dump")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--megabytes", type=float, default=8.0, help="amount of wikitext to convert")
    arguments = parser.parse_args()
    corpus = {"paths": arguments.dump, "format": "wikipedia", "encoding": arguments.encoding}
    config = DataConfig.model_validate({"corpora": [corpus]})
    pages = articles(config, arguments.megabytes * 1e6)
    size = sum(len(page.text.encode()) for page in pages)
    ours = min(seconds(pages, lambda page: text_of_page(page, config).text) for _ in range(ROUNDS))
    theirs = seconds(pages, lambda page: str(mwparserfromhell.parse(page.text).strip_code()))
    rates = {"mb_s": size / 1e6 / ours, "mwparserfromhell_mb_s": size / 1e6 / theirs}
    result = {"benchmark": "wikitext", "ratio": theirs / ours, "reference": "mwparserfromhell, parse().strip_code()"}
    print(json.dumps(result | rates | {"megabytes": size / 1e6, "pages": len(pages)}))


def articles(config: DataConfig, size: float) -> list[Document]:
    """Return the first articles of the dumps with a total of `size` bytes of wikitext."""
    found: list[Document] = []
    with TemporaryDirectory() as folder:
        for item in make_plan([find_files(config.corpora[0].paths)], config).items:
            for document in read_item(item, config, Monitor(store_at(str(Path(folder) / "work")))):
                if not document.drop:
                    found.append(document)
                    size -= len(document.text.encode())
                if size <= 0:
                    return found
    return found


def seconds(pages: Sequence[Document], convert: Callable[[Document], str]) -> float:
    """Return the CPU-seconds that it takes to convert all pages."""
    began = time.process_time()
    for page in pages:
        with suppress(UnparsableError):
            convert(page)
    return time.process_time() - began


if __name__ == "__main__":
    main()
