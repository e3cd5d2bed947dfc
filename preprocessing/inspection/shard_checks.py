"""Checks of one shard: whether its file matches the manifest, and whether each of its rows obeys the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from configs.errors import UserError
from preprocessing.dataset import (
    PROVENANCE_COLUMNS,
    UNREADABLE,
    Manifest,
    Rows,
    ShardEntry,
    read_shard,
    token_dtype,
    vocabulary_of_shard,
)
from preprocessing.inspection.row_rules import Rule

ALL_SHARDS = "all shards"  # the `file` of failures that concern all shards together
_MOST_SHOWN = 12  # number of list elements to show


@dataclass(frozen=True)
class Failure:
    """One broken rule: its file, the first row that breaks it, and the number of rows that do."""

    file: str  # relative to the data set's folder; or ALL_SHARDS
    rule: str
    row: int | None = None  # the first row that breaks it; None if the rule is not about rows
    rows: int = 0  # the number of rows that break it
    value: str = field(default="", compare=False)  # the value found

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file} row {self.row}"
        found = f" ({self.value})" if self.value else ""
        more = f" (and {self.rows - 1} more rows)" if self.rows > 1 else ""
        return f"{where}: {self.rule}{found}{more}"


def check_file(path: Path, shard: ShardEntry, manifest: Manifest, provenance: bool) -> Iterator[Failure]:
    """Check the columns and counts of a shard's file after its digest. Offsets are checked before they are used."""
    try:
        rows, vocabulary = read_shard(path), vocabulary_of_shard(path)
    except (UserError, *UNREADABLE) as error:
        yield Failure(shard.name, "it has the columns of the data format", value=str(error))
        return
    counts = (len(rows), len(rows.input_ids), len(rows.masked_lm_ids))
    stated = (shard.rows, shard.tokens, shard.masked_tokens)
    if vocabulary != manifest.vocabulary.sha256:
        rule = "its ids belong to the data set's vocabulary"
        yield Failure(shard.name, rule, value=vocabulary[:12] or "it names no vocabulary")
    elif not _has_columns(rows, manifest, provenance):
        yield Failure(shard.name, "it has provenance columns if the recipe requests them")
    elif wrong := _wrong_type(rows, manifest):
        yield Failure(shard.name, "its columns have the types of the data format", value=wrong)
    elif not _is_sound(rows):
        yield Failure(shard.name, "its lists begin at 0, do not overlap, and end with their values")
    elif counts != stated:
        rule = "its numbers of rows, tokens and masked tokens match the manifest"
        yield Failure(shard.name, rule, value=f"{counts}, not {stated}")


def break_rules(rules: Iterable[Rule], rows: Rows, shard: ShardEntry, manifest: Manifest) -> Iterator[Failure]:
    """Yield a failure for each rule that a row breaks."""
    for rule in rules:
        broken = np.flatnonzero(rule.broken(rows, manifest))
        if len(broken):
            row = int(broken[0])
            value = f"{rule.column} = {_value(rows, rule.column, row)}"
            yield Failure(shard.name, rule.name, row, len(broken), value)


def _has_columns(rows: Rows, manifest: Manifest, provenance: bool) -> bool:
    """Return whether the shard has the provenance columns that the recipe and the format version say."""
    if rows.provenance is None or not provenance:
        return rows.provenance is None and not provenance
    has_starts = rows.provenance.a_start is not None and rows.provenance.b_start is not None
    return has_starts or manifest.format_version == 1


def _wrong_type(rows: Rows, manifest: Manifest) -> str:
    """Describe the first column whose type differs from the data format's, or return ""."""
    token = token_dtype(manifest.vocabulary.size)
    expected: dict[str, type] = {
        "input_ids": token,
        "input_offsets": np.int32,
        "segment_a_length": np.uint16,
        "masked_lm_positions": np.uint16,
        "masked_lm_ids": token,
        "masked_offsets": np.int32,
        "next_sentence_label": np.uint8,
    }
    columns = {name: getattr(rows, name) for name in expected}
    if rows.provenance is not None:
        types = (*2 * (np.uint64, np.uint32, np.uint16), np.uint32, np.uint32)
        of_origin = {name: column for name, column in vars(rows.provenance).items() if column is not None}
        expected |= {name: one for name, one in zip(PROVENANCE_COLUMNS, types, strict=True) if name in of_origin}
        columns |= of_origin
    wrong = (name for name, dtype in expected.items() if columns[name].dtype != dtype)
    return next((f"{name} is {columns[name].dtype}" for name in wrong), "")


def _value(rows: Rows, column: str, row: int) -> str:
    """Return a row's value in a column as text. A long list is cut."""
    if column in PROVENANCE_COLUMNS:
        return str(getattr(rows.provenance, column)[row])
    values = getattr(rows, column)
    if column in ("segment_a_length", "next_sentence_label"):
        return str(values[row])
    offsets = rows.input_offsets if column == "input_ids" else rows.masked_offsets
    elements = values[offsets[row] : offsets[row + 1]].tolist()
    shown = " ".join(map(str, elements[:_MOST_SHOWN]))
    return f"{shown} ..." if len(elements) > _MOST_SHOWN else shown


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
