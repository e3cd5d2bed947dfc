"""What a corpus is, from the beginning of its files: format, column of the text, size, and language."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath

from configs.errors import UserError
from configs.schema import CorpusConfig
from launch.proposal.language import guess_language
from preprocessing.documents import FORMATS, ReadCounter, find_files, guess_file_encoding, open_source, open_stored

SAMPLE_BYTES = 1 << 18
SAMPLED_FILES = 20
SAMPLED_RECORDS = 50
LONGEST_CHARS = 20_000  # of a document, to guess its language
TEXT_FIELDS = ("text", "content", "body", "article", "raw_content", "document")

# The first bytes of a file, after decompression, by format. Leading white space does not count.
SIGNATURES = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream
    b"<mediawiki": "wikipedia",
    b"<doc ": "wikiextractor",
    b"WARC/": "warc",
}


@dataclass(frozen=True)
class Found:
    """A corpus as its files show it. `settings` are further keys of `[[data.corpora]]`."""

    paths: list[str]
    format: str
    files: int
    bytes: int
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
    return Found(list(paths), kind, len(files), sum(file.size for file in files), language, settings)


def sniff(path: str, files: int = 1) -> str:
    """Return the format of a file, one of `files` of a corpus, by its name and its first bytes."""
    with open_source(path, ReadCounter(), is_text=False) as stream:
        start = stream.read(SAMPLE_BYTES)
    if not start.strip():
        raise UserError("the file is empty", place=path, fix="remove it, or name another one")
    for signature, kind in SIGNATURES.items():
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(signature):
            return kind
    if b"\n" in start and start.lstrip().startswith(b"{") and _is_json(start.lstrip().splitlines()[0]):
        return "jsonl"
    suffixes = {suffix.lower().lstrip(".") for suffix in PurePath(path).suffixes}
    for kind in ("tsv", "csv"):
        if kind in suffixes:
            return kind
    has_documents = b"\n\n" in start.replace(b"\r\n", b"\n").strip()
    return "text" if has_documents or files == 1 else "files"


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _settings(path: str, kind: str) -> dict[str, str]:
    """Return the keys that a corpus of this format needs: the column of the text, and the encoding."""
    settings: dict[str, str] = {}
    names = _column_names(path, kind)
    if names:
        settings["text_field"] = next(
            (name for name in TEXT_FIELDS if name in names), max(names, key=names.__getitem__)
        )
    if kind in ("text", "files", "csv", "tsv", "jsonl"):
        guessed = guess_file_encoding(path) or "utf-8"
        if guessed.replace("_", "-").lower() not in ("utf-8", "ascii"):
            settings["encoding"] = guessed
    return {key: value for key, value in settings.items() if (key, value) != ("text_field", "text")}


def _column_names(path: str, kind: str) -> dict[str, int]:
    """Return the columns that hold text, with the number of characters in the sampled records."""
    if kind == "parquet":
        import pyarrow.parquet

        with open_stored(path, ReadCounter()) as stream:
            schema = pyarrow.parquet.read_schema(stream)
        return {name: len(name) for name, one in zip(schema.names, schema.types, strict=True) if "string" in str(one)}
    if kind == "jsonl":
        with open_source(path, ReadCounter()) as stream:
            records = [json.loads(line) for line in islice(stream, SAMPLED_RECORDS) if line.strip()]
        return _lengths(record for record in records if isinstance(record, dict))
    if kind in ("csv", "tsv"):
        with open_source(path, ReadCounter()) as stream:
            lines = stream.read(SAMPLE_BYTES).decode(errors="replace").splitlines()
        delimiter = "\t" if kind == "tsv" else csv.Sniffer().sniff(lines[0], ",;|\t").delimiter
        return _lengths(islice(csv.DictReader(lines, delimiter=delimiter), SAMPLED_RECORDS))
    return {}


def _lengths(records: Iterator[dict[str, object]]) -> dict[str, int]:
    lengths: Counter[str] = Counter()
    for record in records:
        lengths.update({name: len(value) for name, value in record.items() if isinstance(value, str)})
    return dict(lengths)


def _texts(path: str, corpus: CorpusConfig) -> Iterator[str]:
    """Yield the texts of the file's documents."""
    kind = FORMATS[corpus.format]
    for place, block in kind.blocks(path, 0, sys.maxsize, corpus, ReadCounter()):
        if isinstance(block, bytes):
            yield kind.text_of(block.decode(errors="replace"), corpus, place)[0][:LONGEST_CHARS]
