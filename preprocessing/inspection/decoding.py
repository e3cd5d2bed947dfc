"""Decode rows into word pieces: each token, whether it was masked, kept or replaced, and the original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from configs.schema import Objective
from preprocessing.dataset import Rows, Split, existing_shards, local_shard, read_manifest, read_sound_shard
from preprocessing.storage import store_at
from preprocessing.vocabulary import MASK, Vocabulary, shown_pieces


@dataclass(frozen=True)
class DecodedToken:
    """A word piece as the model sees it and, at a masked position, the piece that the model must predict."""

    piece: str
    original: str | None = None  # None: not a masked position

    @property
    def change(self) -> Literal["masked", "kept", "replaced"] | None:
        """The effect of masking on the token, or None where the model predicts nothing."""
        if self.original is None:
            return None
        return "masked" if self.piece == MASK else "kept" if self.piece == self.original else "replaced"

    def __str__(self) -> str:
        return self.piece if self.original is None else f"[{self.piece}←{self.original}]"


@dataclass(frozen=True)
class Origin:
    """The sentences of a document that a segment was cut from."""

    document: int  # the first 8 bytes of the document's SHA-256
    first_sentence: int
    sentences: int


@dataclass(frozen=True)
class DecodedPair:
    """A row as word pieces. `segment_b` is empty, and its label None, under the objective `none`."""

    segment_a: tuple[DecodedToken, ...]
    segment_b: tuple[DecodedToken, ...]
    next_sentence_label: int | None
    origin_a: Origin | None = None  # None: the data set has no provenance
    origin_b: Origin | None = None
    shard: str = ""
    row: int = 0

    @property
    def tokens(self) -> tuple[DecodedToken, ...]:
        """All tokens of the row, including [CLS] and [SEP]."""
        return self.segment_a + self.segment_b

    def __str__(self) -> str:
        return " ".join(map(str, self.tokens))


def decode_pairs(place: str | Path, split: Split, pass_number: int, count: int) -> Iterator[DecodedPair]:
    """Return the first `count` pairs of a split and pass of the data set at a path or URL.

    Raises `UserError` when there is no such pass, or a shard is damaged.
    """
    manifest = read_manifest(place)
    store = store_at(place)
    vocabulary = Vocabulary.of_data_set(store, manifest.vocabulary)
    shards = existing_shards(manifest, str(place), split, pass_number)

    def pairs() -> Iterator[DecodedPair]:
        for shard in shards:
            with local_shard(store, shard) as path:
                rows = read_sound_shard(path, f"{store.place}/{shard.name}", shard, manifest)
            for row in range(len(rows)):
                yield decode_row(rows, row, vocabulary, manifest.objective, shard.name)

    return islice(pairs(), count)


def decode_row(rows: Rows, row: int, vocabulary: Vocabulary, objective: Objective, shard: str = "") -> DecodedPair:
    """Decode one row of a shard. `shard` is the shard's name."""
    ids = rows.input_ids[rows.input_offsets[row] : rows.input_offsets[row + 1]]
    masked = slice(rows.masked_offsets[row], rows.masked_offsets[row + 1])
    originals = dict(zip(rows.masked_lm_positions[masked].tolist(), rows.masked_lm_ids[masked].tolist(), strict=True))
    pieces = shown_pieces(vocabulary)
    mask_id = vocabulary.id_of(MASK)  # shown by BERT's name, whatever the tokenizer calls it

    def token(place: int, seen: int) -> DecodedToken:
        original = pieces[originals[place]] if place in originals else None
        return DecodedToken(MASK if seen == mask_id else pieces[seen], original)

    tokens = tuple(token(place, seen) for place, seen in enumerate(ids.tolist()))
    border = int(rows.segment_a_length[row])
    return DecodedPair(
        segment_a=tokens[:border],
        segment_b=tokens[border:],
        next_sentence_label=None if objective == "none" else int(rows.next_sentence_label[row]),
        origin_a=_origin(rows, row, "a"),
        origin_b=None if objective == "none" else _origin(rows, row, "b"),
        shard=shard,
        row=row,
    )


def _origin(rows: Rows, row: int, segment: str) -> Origin | None:
    if rows.provenance is None:
        return None
    names = (f"{segment}_document", f"{segment}_first_sentence", f"{segment}_sentences")
    return Origin(*(int(getattr(rows.provenance, name)[row]) for name in names))
