"""A data set for human eyes: its pairs decoded, each masked position marked, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from configs.errors import UserError
from configs.schema import Objective
from launch.terminal import console
from preprocessing.dataset import Manifest, Rows, Split, local_shard, read_manifest, read_shard
from preprocessing.inspection import verify
from preprocessing.storage import store_at
from preprocessing.vocabulary import CONTINUATION, MASK, Vocabulary

STYLES = {"masked": "cyan", "kept": "green", "replaced": "red", "special": "dim"}
LABELS = {
    "nsp": ("B follows A", "B comes from another document"),
    "sop": ("A and B are in order", "A and B are swapped"),
}


def legend() -> Text:
    """How to read a decoded pair."""
    return Text.assemble(
        "[seen←true]: ",
        ("[[MASK]←word] masked", STYLES["masked"]),
        ", ",
        ("[word←word] kept", STYLES["kept"]),
        ", ",
        ("[other←word] replaced", STYLES["replaced"]),
    )


def decoded_pairs(place: str | Path, split: Split, pass_number: int, count: int) -> Iterator[Text]:
    """The first `count` pairs of a split and pass. `UserError` when there is no such pass, or a shard is damaged."""
    manifest = read_manifest(place)
    store = store_at(place)
    vocabulary = Vocabulary.of_data_set(store, manifest.vocabulary)
    shards = manifest.select(split, pass_number)
    if not shards:
        fix = f"it has passes 0 to {manifest.dupe_factor - 1}; held_out is empty where held_out_fraction is 0"
        raise UserError(f"no {split} rows in pass {pass_number}", place=str(place), fix=fix)

    def pairs() -> Iterator[Text]:
        for shard in shards:
            with local_shard(store, shard) as path:
                rows = read_shard(path)
            for row in range(len(rows)):
                yield Text.assemble(
                    (f"{shard.name} row {row}: ", "bold"), decoded(rows, row, vocabulary, manifest.objective)
                )

    return islice(pairs(), count)


def decoded(rows: Rows, row: int, vocabulary: Vocabulary, objective: Objective) -> Text:
    """One row: length and label, then segment A and segment B, if there is one, on a line each."""
    ids = rows.input_ids[rows.input_offsets[row] : rows.input_offsets[row + 1]]
    masked = slice(rows.masked_offsets[row], rows.masked_offsets[row + 1])
    truth = dict(zip(rows.masked_lm_positions[masked].tolist(), rows.masked_lm_ids[masked].tolist(), strict=True))
    tokens = [
        _token(vocabulary.pieces[seen], vocabulary.pieces[truth[place]] if place in truth else None)
        for place, seen in enumerate(ids.tolist())
    ]
    border = int(rows.segment_a_length[row])
    head = f"{len(ids)} tokens, {len(truth)} masked"
    if objective == "none":
        return Text("\n").join([Text(head + _origin(rows, row, "a")), _joined("  ", tokens)])
    label = int(rows.next_sentence_label[row])
    head += f", next_sentence_label {label}: {LABELS[objective][label]}"
    head += _origin(rows, row, "a") + _origin(rows, row, "b")
    return Text("\n").join([Text(head), _joined("  A ", tokens[:border]), _joined("  B ", tokens[border:])])


def run_verify(place: str | Path) -> None:
    """Print each failure of a data set, or what was found right; `UserError` when there was one."""
    manifest = read_manifest(place)
    screen = console()
    failures = 0
    for failure in verify(place):
        screen.print(str(failure), style="red", markup=False)
        failures += 1
    if failures:
        fix = "run `bertrain prepare` again: it makes only what is missing or damaged"
        raise UserError(f"{failures} failure(s), listed above", place=str(place), fix=fix)
    rows = sum(shard.rows for shard in manifest.shards)
    screen.print(
        f"{place}: {len(manifest.shards)} shards, {rows:,} pairs, vocabulary, counts, rows and chances are right",
        markup=False,
    )


def totals(manifest: Manifest) -> Table:
    """Rows, tokens and bytes by split and pass."""
    table = Table("split", "pass", "shards", "pairs", "tokens", "tokens a pair", "masked", "MB", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for split, number in sorted({(shard.split, shard.pass_number) for shard in manifest.shards}, reverse=True):
        shards = manifest.select(split, number)
        rows, tokens, masked, size = np.sum([(s.rows, s.tokens, s.masked_tokens, s.bytes) for s in shards], axis=0)
        fill = f"{tokens / rows:.1f}" if rows else "-"
        counts = (len(shards), rows, tokens)
        table.add_row(split, str(number), *(f"{n:,}" for n in counts), fill, f"{masked:,}", f"{size / 1e6:,.1f}")
    return table


def _origin(rows: Rows, row: int, segment: str) -> str:
    """Where a segment comes from, if the data set says so: document and sentences, the last one included."""
    if rows.provenance is None:
        return ""
    names = (f"{segment}_document", f"{segment}_first_sentence", f"{segment}_sentences")
    document, first, count = (int(getattr(rows.provenance, name)[row]) for name in names)
    return f"\n  {segment.upper()} is from document {document:016x}, sentences {first} to {first + count - 1}"


def _token(seen: str, truth: str | None) -> Text:
    if truth is None:
        return Text(seen, style=STYLES["special"] if seen.startswith("[") and seen.endswith("]") else "")
    kind = "masked" if seen == MASK else "kept" if seen == truth else "replaced"
    return Text(f"[{seen}←{truth}]", style=STYLES[kind])


def _joined(indent: str, tokens: list[Text]) -> Text:
    """Word pieces of one word together, where none of them is marked."""
    line = Text(indent)
    after_word = False
    for token in tokens:
        marked = token.plain.startswith("[")
        glued = after_word and not marked and token.plain.startswith(CONTINUATION)
        line.append_text(token[len(CONTINUATION) :] if glued else Text(" ") + token)
        after_word = not marked
    return line
