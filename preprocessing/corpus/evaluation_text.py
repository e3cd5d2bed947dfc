"""Evaluation text that must not be trained on: the runs of words that documents are searched for.

As in GPT-3 (Brown et al. 2020, appendix C), a document is contaminated if it shares a run of 13 words with it.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.schema import CleaningConfig
from preprocessing.comparison import Hashes, is_among, run_hashes, word_hashes
from preprocessing.documents import ReadCounter, find_files, open_source, open_stored

_MOST_CHARS = 250_000_000  # read at once
_PACKED = frozenset({".bz2", ".gz", ".xz", ".zst"})

Config = TypeVar("Config", bound=CleaningConfig)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationText:
    """The hashes of all runs of words of the evaluation text, sorted."""

    runs: Hashes
    words: int  # in a run

    @property
    def sha256(self) -> str:
        """A digest of the runs."""
        return hashlib.sha256(self.runs.astype("<u8").tobytes()).hexdigest()

    def shares_a_run(self, text: str) -> bool:
        """Return whether the text holds one of the runs."""
        return bool(is_among(run_hashes(word_hashes(text), self.words), self.runs).any())


def with_evaluation_digest(config: Config) -> Config:
    """Return the settings with the digest of their evaluation text, by which workers notice that it has changed.

    Raises `UserError` for files that cannot be read, and for files without a run of words: they would drop nothing.
    """
    if not config.decontaminate:
        return config.model_copy(update={"decontaminate_sha256": ""}) if config.decontaminate_sha256 else config
    found = _read(tuple(config.decontaminate), config.decontaminate_words, logging.WARNING)
    return config.model_copy(update={"decontaminate_sha256": found.sha256})


def evaluation_text(config: CleaningConfig) -> EvaluationText:
    """Return the evaluation text of the settings. Raises `UserError` if it has changed since the preparation began."""
    return _checked(tuple(config.decontaminate), config.decontaminate_words, config.decontaminate_sha256)


@lru_cache(1)
def _checked(patterns: tuple[str, ...], words: int, sha256: str) -> EvaluationText:
    found = _read(patterns, words, logging.DEBUG)  # the driver has said it
    if sha256 and found.sha256 != sha256:
        fix = "run the same command again"
        raise UserError("the evaluation text changed while the data set was prepared", place=patterns[0], fix=fix)
    return found


def _read(patterns: tuple[str, ...], words: int, level: int) -> EvaluationText:
    runs = [_runs_of_file(file.path, words, level) for file in find_files(patterns)]
    return EvaluationText(np.unique(np.concatenate(runs)), words)


def _runs_of_file(path: str, words: int, level: int) -> Hashes:
    lengths, runs = [0], [np.zeros(0, np.uint64)]
    for passage in _passages(path):
        hashes = word_hashes(passage)
        lengths.append(len(hashes))
        runs.append(run_hashes(hashes, words))
    if not any(map(len, runs)):
        cause = f"no passage of {words} words in the evaluation text, so it would drop nothing; the longest has"
        fix = "lower data.decontaminate_words, or remove the file from data.decontaminate"
        raise UserError(f"{cause} {max(lengths)}", place=path, fix=fix)
    short = sum(length < words for length in lengths[1:])
    if short:
        logger.log(level, "%s: %d of %d passages have fewer than %d words", path, short, len(lengths) - 1, words)
    return np.concatenate(runs)


def _passages(path: str) -> Iterator[str]:
    """Yield the texts of a file: its strings if it is JSON, its cells if it is a table, else the complete text."""
    suffixes = [suffix for suffix in PurePosixPath(path.lower()).suffixes if suffix not in _PACKED]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet":
        yield from _strings(_table(path).to_pylist())
        return
    with open_source(path, ReadCounter(), _encoding(path)) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        try:
            if kind == ".json":
                yield from _strings(json.loads(_bounded(text.read(_MOST_CHARS + 1), path)))
            elif kind in (".jsonl", ".ndjson"):
                for line in filter(str.strip, _lines(text, path)):
                    yield from _strings(json.loads(line))
            elif kind in (".csv", ".tsv"):
                for row in csv.reader(_lines(text, path), delimiter="\t" if kind == ".tsv" else ","):
                    yield from row
            else:
                yield _bounded(text.read(_MOST_CHARS + 1), path)
        except (ValueError, csv.Error, RecursionError) as error:
            fix = "correct the file, or give it a suffix that says what it is, such as .txt"
            raise UserError(f"cannot parse the evaluation text: {error}", place=path, fix=fix) from error


def _lines(text: io.TextIOWrapper, path: str) -> Iterator[str]:
    return iter(lambda: _bounded(text.readline(_MOST_CHARS + 1), path), "")


def _bounded(text: str, path: str) -> str:
    """Return the text. Raises `UserError` if it is too long: a damaged file can be sparse, and exceed the memory."""
    if len(text) > _MOST_CHARS:
        cause = f"evaluation text of more than {_MOST_CHARS:,} characters in one piece"
        raise UserError(cause, place=path, fix="divide it into several files")
    return text


def _encoding(path: str) -> str:
    """Return the encoding that a byte order mark states, as programs on Windows write it; else UTF-8."""
    with open_source(path, ReadCounter(), is_text=False) as stream:
        start = stream.read(4)
    if start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"


def _table(path: str) -> pa.Table:
    try:
        with open_stored(path, ReadCounter()) as stream:
            return pq.read_table(stream)
    except pa.ArrowException as error:
        raise UserError(f"not a Parquet file: {error}", place=path, fix="correct the file or its suffix") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for each in value.values() for text in _strings(each))
    elif isinstance(value, list):
        yield from (text for each in value for text in _strings(each))
