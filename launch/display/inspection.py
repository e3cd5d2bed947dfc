"""Print decoded pairs of a data set with their masked positions marked, its totals, and the result of `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from configs.errors import UserError
from configs.schema import Objective
from launch.terminal import console, plain_table
from preprocessing.dataset import Manifest, Split, read_manifest
from preprocessing.inspection import DecodedPair, DecodedToken, Origin, decode_pairs, verify
from preprocessing.vocabulary import CONTINUATION

STYLES = {"masked": "cyan", "kept": "green", "replaced": "red", "special": "dim"}
LABELS = {
    "nsp": ("B follows A", "B comes from another document"),
    "sop": ("A and B are in order", "A and B are swapped"),
}


def pair_legend() -> Text:
    """Return the legend that explains the marks of a decoded pair."""
    return Text.assemble(
        "[seen←true]: ",
        ("[[MASK]←word] masked", STYLES["masked"]),
        ", ",
        ("[word←word] kept", STYLES["kept"]),
        ", ",
        ("[other←word] replaced", STYLES["replaced"]),
    )


def decoded_pairs(place: str | Path, split: Split, pass_number: int, count: int) -> Iterator[Text]:
    """Yield the first `count` pairs of a split and pass. Raise `UserError` for a missing pass or a damaged shard."""
    objective = read_manifest(place).objective
    for pair in decode_pairs(place, split, pass_number, count):
        yield Text.assemble((f"{pair.shard} row {pair.row}: ", "bold"), pair_text(pair, objective))


def pair_text(pair: DecodedPair, objective: Objective) -> Text:
    """Return one row as text: its length and label, then segment A and, if present, segment B, each on its own line."""
    masked = sum(token.original is not None for token in pair.tokens)
    head = f"{len(pair.tokens)} tokens, {masked} masked"
    origins = _origin_line("A", pair.origin_a) + _origin_line("B", pair.origin_b)
    if pair.next_sentence_label is None:
        return Text("\n").join([Text(head + origins), _joined("  ", pair.segment_a)])
    head += f", next_sentence_label {pair.next_sentence_label}: {LABELS[objective][pair.next_sentence_label]}"
    return Text("\n").join([Text(head + origins), _joined("  A ", pair.segment_a), _joined("  B ", pair.segment_b)])


def run_verify(place: str | Path) -> None:
    """Print each failure of a data set, or a summary if there is none. Raise `UserError` if there is a failure."""
    manifest = read_manifest(place)
    screen = console()
    failures = 0
    for failure in verify(place):
        screen.print(str(failure), style="red", markup=False)
        failures += 1
    if failures:
        fix = "run `bertrain prepare RECIPE` again: it makes only what is missing or damaged"
        raise UserError(f"{failures} failure(s), listed above", place=str(place), fix=fix)
    rows = sum(shard.rows for shard in manifest.shards)
    screen.print(
        f"{place}: {len(manifest.shards)} shards, {rows:,} pairs; vocabulary, counts, rows and statistics are correct",
        markup=False,
    )


def totals_table(manifest: Manifest) -> Table:
    """Return a table of rows, tokens and bytes by split and pass."""
    headings = ("split", "pass", "shards", "pairs", "tokens", "tokens\nper pair", "masked", "MB")
    table = plain_table(*headings, justify="right")
    table.collapse_padding = True
    for split, number in sorted({(shard.split, shard.pass_number) for shard in manifest.shards}, reverse=True):
        shards = manifest.select(split, number)
        rows, tokens, masked, size = np.sum([(s.rows, s.tokens, s.masked_tokens, s.bytes) for s in shards], axis=0)
        fill = f"{tokens / rows:.1f}" if rows else "-"
        counts, megabytes = (len(shards), rows, tokens), f"{size / 1e6:,.{1 if size < 1e9 else 0}f}"
        table.add_row(split, str(number), *(f"{n:,}" for n in counts), fill, f"{masked:,}", megabytes)
    return table


def _origin_line(segment: str, origin: Origin | None) -> str:
    """Return the document and sentences (last one included) of a segment; empty if the data set has no origins."""
    if origin is None:
        return ""
    first, last = origin.first_sentence, origin.first_sentence + origin.sentences - 1
    return f"\n  {segment} is from document {origin.document:016x}, sentences {first} to {last}"


def _token_text(token: DecodedToken) -> Text:
    is_special = token.piece.startswith("[") and token.piece.endswith("]")
    return Text(str(token), style=STYLES[token.change or "special"] if token.change or is_special else "")


def _joined(indent: str, tokens: Sequence[DecodedToken]) -> Text:
    """Join the pieces of a word, except pieces that are marked."""
    line = Text(indent)
    after_word = False
    for token in map(_token_text, tokens):
        marked = token.plain.startswith("[")
        glued = after_word and not marked and token.plain.startswith(CONTINUATION)
        line.append_text(token[len(CONTINUATION) :] if glued else Text(" ") + token)
        after_word = not marked
    return line
