"""The base of all parts of the manifest, and its figures about what became of the text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Ranges of what a manifest states: a reader loops over some numbers and allocates arrays of others.
Count = Annotated[int, Field(ge=0, lt=2**53)]
Passes = Annotated[int, Field(ge=0, lt=100_000)]

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, Split] = ("train", "held_out")


class ManifestEntry(BaseModel):
    """The base class of all parts of the manifest. Frozen; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PiecesInNoRow(ManifestEntry):
    """Word pieces that stand in no row, by cause. Equal documents of a group are counted once."""

    cut: Count = 0  # cut off at the end of a row that was too long
    no_pair: Count = 0  # of documents that make no row: too little text, or no other document to take a random B from

    def __add__(self, other: PiecesInNoRow) -> PiecesInNoRow:
        return PiecesInNoRow(cut=self.cut + other.cut, no_pair=self.no_pair + other.no_pair)


class PassLosses(ManifestEntry):
    """What one pass over a split loses."""

    split: Split
    pass_number: Passes = Field(alias="pass")
    pieces: Count  # word pieces of the split, equal documents of a group counted once
    tokens_cut: Count  # tokens cut off; a token of two rows counts twice
    sentences_cut: Count  # sentences of which a row holds only a part
    in_no_row: PiecesInNoRow

    def __add__(self, other: PassLosses) -> PassLosses:
        """Return the sum over two groups."""
        return PassLosses(
            split=self.split,
            pass_number=self.pass_number,
            pieces=self.pieces + other.pieces,
            tokens_cut=self.tokens_cut + other.tokens_cut,
            sentences_cut=self.sentences_cut + other.sentences_cut,
            in_no_row=self.in_no_row + other.in_no_row,
        )


class CorpusFigures(ManifestEntry):
    """The part of one corpus in the data set: what the weights of a mixture have come to."""

    corpus: int  # its place in data.corpora, from 0
    documents: Count  # both splits, copies included
    held_out_documents: Count
    text_bytes: Count  # both splits, copies included
    rows: Count  # of pass 0 of the training split whose A is of the corpus
    tokens: Count  # of the corpus in those rows
    # As in the statistics of all corpora; None: an earlier build made the group, which counted them for all together.
    chars: Count | None = None
    unknown_chars: Count | None = None
    overlong_chars: Count | None = None

    def __add__(self, other: CorpusFigures) -> CorpusFigures:
        """Return the sum over two groups. What is not counted in one of them is not known of both."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in type(self).model_fields}
        sums = {name: None if None in pair else sum(pair) for name, pair in pairs.items()}
        return CorpusFigures(**(sums | {"corpus": self.corpus}))
