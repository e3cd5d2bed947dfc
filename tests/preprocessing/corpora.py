"""Small corpora made from a word list and a seed, for the tests of preparation."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa

from configs.schema import DataConfig

WORDS = ["".join(parts) for parts in itertools.product("bdfkmnt", ["a", "ei", "ou"], ["l", "st", "ra"])]


def make_documents(count: int, seed: int = 1, sentences: int = 12) -> list[str]:
    """So many documents of two paragraphs, each a line, up to `sentences` sentences together; no two alike."""
    numbers = random.Random(seed)
    documents = []
    for name in range(count):
        lines = [[f"Text {name} begins."], []]
        for _ in range(numbers.randint(2, sentences)):
            words = numbers.choices(WORDS, k=numbers.randint(3, 12))
            numbers.choice(lines).append(" ".join(words).capitalize() + ".")
        documents.append("\n".join(" ".join(line) for line in lines if line))
    return documents


def write_text(path: Path, documents: Sequence[str]) -> Path:
    """Documents with a blank line between them."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


def write_lying_arrow(path: Path) -> Path:
    """Write an Arrow file with three texts, one of which claims to end outside the file."""
    offsets = pa.py_buffer(np.array([0, 1 << 30, 4, 6], np.int32))
    table = pa.table({"text": pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a text"))})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def wikipedia_xml(pages: Sequence[tuple[str, str]], *, end: str = "</mediawiki>\n") -> str:
    """A MediaWiki dump of (title, wikitext) pages."""
    body = "".join(
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n    <revision>\n"
        f'      <model>wikitext</model>\n      <text xml:space="preserve">{escape(text)}</text>\n'
        "    </revision>\n  </page>\n"
        for number, (title, text) in enumerate(pages)
    )
    return f"<mediawiki>\n  <siteinfo><sitename>Test</sitename></siteinfo>\n{body}{end}"


def small_config(dataset: Path, *paths: Path, **changes: Any) -> DataConfig:
    """A recipe that a few hundred short documents suffice for; `changes` as in the recipe's [data] table."""
    table = {
        "dataset": str(dataset),
        "corpora": [{"paths": [str(path) for path in paths], "format": "text"}],
        "workers": 1,
        "max_seq_length": 48,
        "max_predictions_per_seq": 8,
        "dupe_factor": 2,
        "held_out_fraction": 0.1,
        "group_bytes": 20_000,
        "vocabulary": {"size": 150},
    }
    return DataConfig.model_validate({**table, **changes})


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, except the record of the input files' states on this machine."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "inputs.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
