"""Is a data set what the contract says? Everything is checked, every failure names file, row and rule.

A shard's digest comes first: Arrow believes the bytes it reads. Then come the counts, then the rules on every row. A
few arrays over all tokens at once, so that checking costs little more than reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.files import sha256_of_file
from preprocessing.contract import (
    SHARDS,
    VOCABULARY,
    Manifest,
    Rows,
    ShardEntry,
    check_shard,
    read_manifest,
    read_shard,
    token_dtype,
)
from preprocessing.row_rules import SHAPE_RULES, TOKEN_RULES, Rule
from preprocessing.vocabulary import Vocabulary


@dataclass(frozen=True)
class Failure:
    """One broken rule: in which file, from which row on, in how many rows."""

    file: str  # relative to the data set's folder
    rule: str
    row: int | None = None  # the first one; None where the rule is not about rows
    rows: int = 0  # how many

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file} row {self.row}"
        more = f" (and {self.rows - 1} more rows)" if self.rows > 1 else ""
        return f"{where}: {self.rule}{more}"


def verify(folder: Path, done: Callable[[ShardEntry], None] = lambda shard: None) -> Iterator[Failure]:
    """Every failure of the data set in `folder`; none: it is whole. `done` is told each shard that was looked at.

    Raises `UserError` when there is no manifest of ours to check against.
    """
    manifest = read_manifest(folder)
    yield from check_vocabulary(folder, manifest)
    yield from check_shard_list(folder, manifest)
    found = Found()
    for shard in manifest.shards:
        yield from check_rows(folder, shard, manifest, found)
        done(shard)
    if found.whole:
        yield from check_statistics(manifest, found)


class Found:
    """What the rows of the training split's pass 0 add up to, beside what the manifest's statistics say."""

    def __init__(self) -> None:
        self.whole = True  # all shards could be read
        self.lengths = np.zeros(0, np.int64)  # pairs by length in tokens
        self.random_next = 0

    def add(self, rows: Rows) -> None:
        """Count a shard's rows."""
        lengths = np.bincount(np.diff(rows.input_offsets))
        self.lengths = _padded(self.lengths, len(lengths))
        self.lengths[: len(lengths)] += lengths
        self.random_next += int(rows.next_sentence_label.sum())


def check_vocabulary(folder: Path, manifest: Manifest) -> Iterator[Failure]:
    """The file is the one that the shards' ids were made with."""
    path = folder / VOCABULARY
    if not path.is_file():
        yield Failure(VOCABULARY, "the file is there")
        return
    if sha256_of_file(path) != manifest.vocabulary.sha256:
        yield Failure(VOCABULARY, "its SHA-256 is the manifest's")
        return
    entry = manifest.vocabulary
    if Vocabulary.read(path, entry.lowercase, entry.strip_accents).entry() != entry:
        yield Failure(VOCABULARY, "its size and special tokens are the manifest's")


def check_shard_list(folder: Path, manifest: Manifest) -> Iterator[Failure]:
    """Names are inside the folder, sorted, each once; every pass has rows to train on; no file is unlisted."""
    names = [shard.name for shard in manifest.shards]
    if names != sorted(set(names)):
        yield Failure("manifest.json", "shards are listed once, in the order of their names")
    if any(Path(name).parent != Path(SHARDS) for name in names):
        yield Failure("manifest.json", "every shard lies in the folder `shards`")
    for number in range(manifest.dupe_factor):
        if not any(shard.rows for shard in manifest.select("train", number)):
            yield Failure("manifest.json", f"pass {number} has rows to train on")
    for file in sorted((folder / SHARDS).glob("*.arrow")):
        if f"{SHARDS}/{file.name}" not in names:
            yield Failure(f"{SHARDS}/{file.name}", "every file is listed in the manifest")


def check_rows(folder: Path, shard: ShardEntry, manifest: Manifest, found: Found) -> Iterator[Failure]:
    """One shard: digest, types, counts, and the contract's rules on each of its rows."""
    failures = list(_check_file(folder, shard, manifest))
    if not failures:
        rows = read_shard(folder / shard.name)
        failures = list(_break(SHAPE_RULES, rows, shard, manifest))
    if failures:
        found.whole = False
        yield from failures
        return
    yield from _break(TOKEN_RULES, rows, shard, manifest)
    if (shard.split, shard.pass_number) == ("train", 0):
        found.add(rows)


def check_statistics(manifest: Manifest, found: Found) -> Iterator[Failure]:
    """What the data card shows is what the rows are."""
    statistics = manifest.statistics
    width = max(len(found.lengths), len(statistics.length_histogram))
    if not np.array_equal(_padded(found.lengths, width), _padded(np.array(statistics.length_histogram), width)):
        yield Failure("manifest.json", "statistics.length_histogram is that of the rows")
    if statistics.random_next_pairs != found.random_next:
        yield Failure("manifest.json", "statistics.random_next_pairs is the number of rows labelled 1")
    if len(statistics.token_counts) != manifest.vocabulary.size:
        yield Failure("manifest.json", "statistics.token_counts has a count for every id")


def _check_file(folder: Path, shard: ShardEntry, manifest: Manifest) -> Iterator[Failure]:
    """Nothing here trusts the bytes before their digest is checked, nor an offset before its range is."""
    try:
        check_shard(folder, shard)
    except UserError as error:
        yield Failure(shard.name, error.cause)
        return
    try:
        rows = read_shard(folder / shard.name)
    except (KeyError, ValueError, AttributeError, UserError) as error:  # pyarrow's own errors are ValueErrors
        yield Failure(shard.name, f"it has the columns of the contract ({error})")
        return
    if not _has_contract_types(rows, manifest):
        yield Failure(shard.name, "its columns have the types of the contract")
    elif not _is_sound(rows):
        yield Failure(shard.name, "its lists begin at 0, do not overlap, and end with their values")
    elif (len(rows), len(rows.input_ids), len(rows.masked_lm_ids)) != (shard.rows, shard.tokens, shard.masked_tokens):
        yield Failure(shard.name, "it holds as many rows, tokens and masked tokens as the manifest says")


def _has_contract_types(rows: Rows, manifest: Manifest) -> bool:
    token = token_dtype(manifest.vocabulary.size)
    expected = (token, np.int32, np.uint16, np.uint16, token, np.int32, np.uint8)
    return [column.dtype for column in vars(rows).values()] == [np.dtype(dtype) for dtype in expected]


def _is_sound(rows: Rows) -> bool:
    pairs_up = len(rows.masked_lm_positions) == len(rows.masked_lm_ids)
    return pairs_up and all(
        len(offsets) == len(rows) + 1
        and offsets[0] == 0
        and offsets[-1] == size
        and bool((offsets[1:] >= offsets[:-1]).all())
        for offsets, size in (
            (rows.input_offsets, len(rows.input_ids)),
            (rows.masked_offsets, len(rows.masked_lm_positions)),
        )
    )


def _break(rules: tuple[Rule, ...], rows: Rows, shard: ShardEntry, manifest: Manifest) -> Iterator[Failure]:
    for rule in rules:
        broken = np.flatnonzero(rule(rows, manifest))
        if len(broken):
            yield Failure(shard.name, rule.__name__.replace("_", " "), int(broken[0]), len(broken))


def _padded(counts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.pad(counts, (0, max(0, width - len(counts))))
