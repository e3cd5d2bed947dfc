"""What a corpus is, from the beginning of its files: format, column of the text, size, and language."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath

from configs.errors import UserError
from configs.schema import CorpusConfig
from launch.proposal.columns import SAMPLE_BYTES, SAMPLED_RECORDS, column_lengths
from launch.proposal.language import guess_language
from preprocessing.documents import (
    FORMATS,
    ReadCounter,
    find_files,
    format_of,
    guess_file_encoding,
    open_source,
)
from preprocessing.storage import is_compressed

SAMPLED_FILES = 20
LONGEST_CHARS = 20_000  # of a document, to guess its language
TEXT_PER_STORED_BYTE = 3.0  # of compressed files
TEXT_FIELDS = ("text", "content", "body", "article", "raw_content", "document")


@dataclass(frozen=True)
class Found:
    """A corpus as its files show it. `settings` are further keys of `[[data.corpora]]`."""

    paths: list[str]
    format: str
    files: int
    bytes: int  # as stored
    text_bytes: int  # estimated
    language: str
    settings: dict[str, str] = field(default_factory=dict)


def examine(paths: Sequence[str]) -> Found:
    """Return what the files at these paths, folders and globs are. Raise `UserError` if they are of several formats."""
    files = find_files(paths)
    sampled = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    formats = {file.path: sniff(file.path, len(files)) for file in sampled}
    counts = Counter(formats.values())
    if len(counts) > 1:
        named = ", ".join(f"{name} ({next(path for path in formats if formats[path] == name)})" for name in counts)
        fix = "run init on the files of one format, and add a [[data.corpora]] for the others"
        raise UserError(f"the files have several formats: {named}", place=" ".join(paths), fix=fix)
    (kind,) = counts
    settings = _settings(sampled[0].path, kind)
    corpus = CorpusConfig.model_validate({"paths": list(paths), "format": kind, **settings})
    language = guess_language(" ".join(islice(_texts(sampled[0].path, corpus), SAMPLED_RECORDS)))
    text_bytes = sum(int(file.size * (TEXT_PER_STORED_BYTE if is_compressed(file.path) else 1)) for file in files)
    return Found(list(paths), kind, len(files), sum(file.size for file in files), text_bytes, language, settings)


def sniff(path: str, files: int = 1) -> str:
    """Return the format of a file, one of `files` of a corpus, by its name and its first bytes."""
    with open_source(path, ReadCounter(), is_text=False) as stream:
        start = stream.read(SAMPLE_BYTES)
    if not start.strip():
        raise UserError("the file is empty", place=path, fix="remove it, or name another one")
    suffixes = {suffix.lower().lstrip(".") for suffix in PurePath(path).suffixes}
    kind = format_of(start) or next((name for name in ("tsv", "csv") if name in suffixes), None)
    if kind:
        return kind
    has_documents = b"\n\n" in start.replace(b"\r\n", b"\n").strip()
    return "text" if has_documents or files == 1 else "files"


def _settings(path: str, kind: str) -> dict[str, str]:
    """Return the keys that a corpus of this format needs: the column of the text, and the encoding."""
    settings: dict[str, str] = {}
    names = column_lengths(path, kind)
    if names:
        settings["text_field"] = next(
            (name for name in TEXT_FIELDS if name in names), max(names, key=names.__getitem__)
        )
    if kind in ("text", "files", "csv", "tsv", "jsonl"):
        guessed = guess_file_encoding(path) or "utf-8"
        if guessed.replace("_", "-").lower() not in ("utf-8", "ascii"):
            settings["encoding"] = guessed
    return {key: value for key, value in settings.items() if (key, value) != ("text_field", "text")}


def _texts(path: str, corpus: CorpusConfig) -> Iterator[str]:
    """Yield the texts of the file's documents."""
    kind = FORMATS[corpus.format]
    for place, block in kind.blocks(path, 0, sys.maxsize, corpus, ReadCounter()):
        if isinstance(block, bytes):
            yield kind.text_of(block.decode(errors="replace"), corpus, place)[0][:LONGEST_CHARS]
