"""The manifest, and the layout of a data set on disk: the contract between preprocessing and the trainer.

    DATASET/manifest.json      written last, atomically: its presence means that the data set is complete
    DATASET/vocab.txt          one word piece per line; the line number is the piece's id
    DATASET/tokenizer.json     in its place: the vocabulary of a tokenizer that is not BERT's
    DATASET/shards/*.arrow     Arrow IPC files, uncompressed, one record batch each, memory-mappable

The rows of a shard are pairs `[CLS] A [SEP] B [SEP]`, not padded, with the masks already applied. Under the objective
`none`, a row is a single segment `[CLS] text [SEP]`; its `segment_a_length` is the length of the row and its label is
0. `data.provenance` adds columns that record where each row comes from. Arrow detects almost no damage by itself, so
the manifest records the SHA-256 of every shard, and readers check it before they use the rows. The schema of a shard
names the vocabulary that its ids belong to.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.schema import Objective, VocabularyConfig
from preprocessing.dataset.figures import CorpusFigures, Count, ManifestEntry, Passes, PassLosses, PiecesInNoRow, Split
from preprocessing.dataset.file_counts import FileCounts
from preprocessing.dataset.seal import SEAL, sealed_text, states_its_digest
from preprocessing.storage import store_at

FORMAT_VERSION = 2  # what this bertrain writes
READABLE_VERSIONS = (1, 2)
MANIFEST = "manifest.json"
VocabularyFile = Literal["vocab.txt", "tokenizer.json"]
VOCABULARY: Final = "vocab.txt"
TOKENIZER: Final = "tokenizer.json"
SHARDS = "shards"
CARD = "DATA_CARD.md"  # human-readable only: the card and its pictures can be missing
PICTURES = "card"
_PREPARE_AGAIN = "prepare it again: `bertrain prepare RECIPE --overwrite`"
_RESTORE = f"restore it from a copy of the data set, or {_PREPARE_AGAIN}"

# Ranges of what a manifest states: a reader loops over some numbers and allocates arrays of others.
Id = Annotated[int, Field(ge=0, lt=2**32)]
Length = Annotated[int, Field(ge=1, lt=2**16)]  # in tokens

ShardName = Annotated[str, Field(pattern=r"^shards/[^/\\]+\.arrow$")]  # never a file outside the data set

_OLD_STATISTICS = {"paired_documents": "drawn_targets", "short_documents": "short_targets"}


class ShardEntry(ManifestEntry):
    """One shard: its file name, its contents, and its digest."""

    name: ShardName  # relative to the data set's folder, e.g. "shards/00012.0003-p00-train.arrow"
    group: str  # work item and group, e.g. "00012.0003"
    split: Split
    pass_number: Passes = Field(alias="pass")
    rows: Count
    tokens: Count
    masked_tokens: Count
    forced: Count = 0  # rows whose label no coin decided
    bytes: Count
    sha256: str
    corpus: Count | None = None  # of held-out rows: its place in data.corpora; None: rows of all corpora


class InputEntry(ManifestEntry):
    """One input file, and the digest of its content as stored."""

    corpus: int  # its place in data.corpora, from 0
    name: str  # relative to the folder that holds all files of the corpus
    bytes: int
    sha256: str  # of the SHA-256 digests (32 bytes each) of the file's pieces of 64 MiB
    counts: FileCounts = FileCounts()  # what became of its documents


class VocabularyEntry(ManifestEntry):
    """The vocabulary's file, digest, size, casing, and the ids of its special tokens."""

    sha256: str
    size: Id
    lowercase: bool
    strip_accents: bool | None = None  # None: same as `lowercase`
    pad_id: Id
    unk_id: Id
    cls_id: Id
    sep_id: Id
    mask_id: Id
    file: VocabularyFile = VOCABULARY

    @property
    def casing(self) -> str:
        """What becomes of the case of text, as words for a card."""
        if self.file == TOKENIZER:
            return "as tokenizer.json normalises text"
        return "lower-cased" if self.lowercase else "cased"

    @model_serializer(mode="wrap")
    def _without_usual_file(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the name that was the only one: the bytes of earlier manifests stay."""
        fields: dict[str, Any] = dump(self)
        return {name: value for name, value in fields.items() if (name, value) != ("file", VOCABULARY)}

    @model_validator(mode="after")
    def _ids_are_entries(self) -> VocabularyEntry:
        if max(self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id) >= self.size:
            raise ValueError(f"a special token's id is not one of {self.size} entries")
        return self


def vocabulary_file(config: VocabularyConfig) -> VocabularyFile:
    """Return the name of the file of a recipe's vocabulary in its data set."""
    return TOKENIZER if config.kind == "tokenizer" else VOCABULARY


class Statistics(ManifestEntry):
    """The figures on the data card, counted over pass 0 of the training split unless stated otherwise."""

    documents: Count  # both splits
    sentences: Count  # both splits
    text_bytes: Count  # both splits, UTF-8 bytes of cleaned text
    held_out_documents: Count
    random_next_pairs: Count  # rows labelled 1
    forced_random_pairs: Count  # of those, the ones that no coin decided: chunks of one sentence in reference mode
    forced_following_pairs: Count = 0  # rows labelled 0 without a coin: their document has most of the group's rows
    repeated_pairs: Count = 0  # rows of other documents that are in the group twice, as partners of such rows
    drawn_targets: Count  # target lengths: one a row, or one a document that contributes a segment A (reference mode)
    short_targets: Count  # of those, the ones below the length of a row
    length_histogram: list[Count]  # number of pairs by length in tokens; index = length
    token_counts: list[Count]  # number of original tokens by id, without the [CLS] and [SEP] of the pairs
    chars: Count = 0  # both splits, normalised, without blanks
    unknown_chars: Count = 0  # of those, the ones in words that become [UNK]
    overlong_chars: Count = 0  # of those, the ones in words that are too long for the vocabulary's model

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, table: Any) -> Any:
        """Version 1 drew a target length for each document."""
        if isinstance(table, dict):
            table = {_OLD_STATISTICS.get(name, name): value for name, value in table.items()}
        return table


class Manifest(ManifestEntry):
    """The data set's table of contents: its shards, its recipe, its digests, and its statistics."""

    format_version: int = FORMAT_VERSION
    objective: Objective
    max_seq_length: Length
    max_predictions_per_seq: Length
    dupe_factor: Passes
    recipe: dict[str, Any]  # the [data] fields that determine bytes
    digest: str  # of those fields, the vocabulary and the input; it identifies the data set
    input_digest: str
    # In the order of the corpora and paths; format 1 does not record them.
    inputs: list[InputEntry] = Field(default_factory=list)
    # Of the work items, in order, if files were added later; empty: 0, 1, 2, ...
    item_numbers: list[int] = Field(default_factory=list)
    vocabulary: VocabularyEntry
    shards: list[ShardEntry]  # sorted by name
    drops: dict[str, int]  # documents dropped or repaired, by cause
    statistics: Statistics
    losses: list[PassLosses] = Field(default_factory=list)  # by split and pass; format 1 did not count them
    in_no_row: PiecesInNoRow = PiecesInNoRow()  # of any pass of the training split
    corpora: list[CorpusFigures] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _without_seal(cls, fields: Any) -> Any:
        return {name: value for name, value in fields.items() if name != SEAL} if isinstance(fields, dict) else fields

    def select(self, split: Split, pass_number: int) -> list[ShardEntry]:
        """Return the shards of one split and pass, sorted by name."""
        return [shard for shard in self.shards if shard.split == split and shard.pass_number == pass_number]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, which declares the data set complete. Nothing may be written to it afterwards."""
    atomic_write_text(folder / MANIFEST, manifest_text(manifest))


def manifest_text(manifest: Manifest) -> str:
    """Return the content of `manifest.json`."""
    return sealed_text(manifest.model_dump(mode="json", by_alias=True))


def read_manifest(place: str | Path) -> Manifest:
    """Read the manifest of a complete data set, in a folder or at a URL.

    Raises `UserError` when the manifest is missing or is not a bertrain manifest.
    """
    store = store_at(place)
    content = store.read(MANIFEST)
    if content is None:
        state = "not finished, or not a data set" if Path(place).is_dir() else "no such data set, or not finished"
        raise UserError(state, place=str(place), fix="prepare it with `bertrain prepare RECIPE`")
    return parse_manifest(content, f"{store.place}/{MANIFEST}")


def existing_shards(manifest: Manifest, place: str, split: Split, pass_number: int) -> list[ShardEntry]:
    """Return the shards of a split and pass of the data set at `place`. Raises `UserError` when there are none."""
    shards = manifest.select(split, pass_number)
    if not shards:
        passes = manifest.dupe_factor if split == "train" else 1
        fix = f"choose a pass from 0 to {passes - 1}; held_out is empty when held_out_fraction is 0"
        raise UserError(f"no {split} rows in pass {pass_number}", place=place, fix=fix)
    return shards


def parse_manifest(content: bytes, place: str) -> Manifest:
    """Parse the bytes of a manifest file.

    Raises `UserError`, with its place, when they are not a manifest, or not the manifest whose digest they state.
    """
    version = _format_version(content)
    if version not in (None, *READABLE_VERSIONS):
        readable = " and ".join(map(str, READABLE_VERSIONS))
        cause = f"format version {version}, but this bertrain reads {readable}"
        raise UserError(cause, place=place, fix=_PREPARE_AGAIN)
    try:
        manifest = Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise UserError(f"the manifest is damaged: {first['msg']}", place=place, fix=_RESTORE) from error
        cause = f"not a manifest of this version ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise UserError(cause, place=place, fix=_PREPARE_AGAIN) from error
    if manifest.format_version > 1 and not states_its_digest(content):  # version 1 states no digest
        raise UserError("the manifest is damaged: its content is not what its digest states", place=place, fix=_RESTORE)
    return manifest


def _format_version(content: bytes) -> object:
    """Return the `format_version` of a manifest that can have unknown fields, or None if there is none."""
    with suppress(ValueError, AttributeError, RecursionError):
        return json.loads(content).get("format_version")
    return None
