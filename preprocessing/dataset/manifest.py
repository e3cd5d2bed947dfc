"""The contract between preprocessing and trainer: a data set on disk.

    DATASET/manifest.json      written last, atomically: its presence means that the data set is whole
    DATASET/vocab.txt          one word piece a line, its line number its id
    DATASET/shards/*.arrow     Arrow IPC files, uncompressed, one record batch each, memory-mappable

A shard's rows are pairs `[CLS] A [SEP] B [SEP]` with the masks already applied, not padded. Under the objective `none`
a row is one segment, `[CLS] text [SEP]`: `segment_a_length` is its whole length, its label 0. With `data.provenance`
more columns say where a row comes from. Arrow notices almost no damage by itself, so every shard's SHA-256 stands in
the manifest and is checked before its rows are used; and its schema names the vocabulary that its ids are of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.schema import Objective
from preprocessing.storage import store_at

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
VOCABULARY = "vocab.txt"
SHARDS = "shards"
CARD = "DATA_CARD.md"  # of use to people alone: it may be missing, and so may its pictures
PICTURES = "card"
_PREPARE_AGAIN = "prepare it again: `bertrain prepare RECIPE --overwrite`"

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, Split] = ("train", "held_out")


class ManifestEntry(BaseModel):
    """A part of the manifest. Frozen; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ShardEntry(ManifestEntry):
    """One shard: where it is, what it holds, its digest."""

    name: str  # relative to the data set's folder, e.g. "shards/00012.0003-p00-train.arrow"
    group: str  # work item and group, e.g. "00012.0003"
    split: Split
    pass_number: int = Field(alias="pass")
    rows: int
    tokens: int
    masked_tokens: int
    bytes: int
    sha256: str


class VocabularyEntry(ManifestEntry):
    """The vocabulary's digest, size, casing and special tokens' ids."""

    sha256: str
    size: int
    lowercase: bool
    strip_accents: bool | None = None  # None: as `lowercase`
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int


class Statistics(ManifestEntry):
    """What the data card shows, counted over the training split's pass 0 unless it says otherwise."""

    documents: int  # both splits
    sentences: int  # both splits
    text_bytes: int  # both splits, UTF-8 bytes of cleaned text
    held_out_documents: int
    random_next_pairs: int  # rows labelled 1
    forced_random_pairs: int  # of those, the ones that no coin decided: reference mode's chunks of one sentence
    paired_documents: int  # that give an A
    short_documents: int  # of those, the ones that aim at a shorter length
    length_histogram: list[int]  # pairs by length in tokens, index = length
    token_counts: list[int]  # original tokens by id, without the pairs' own [CLS] and [SEP]


class Manifest(ManifestEntry):
    """The data set's table of contents."""

    format_version: int = FORMAT_VERSION
    objective: Objective
    max_seq_length: int
    max_predictions_per_seq: int
    dupe_factor: int
    recipe: dict[str, Any]  # the [data] fields that determine bytes
    digest: str  # of those fields, the vocabulary and the input: names the data set
    input_digest: str
    vocabulary: VocabularyEntry
    shards: list[ShardEntry]  # sorted by name
    drops: dict[str, int]  # documents dropped or repaired, by cause
    statistics: Statistics

    def select(self, split: Split, pass_number: int) -> list[ShardEntry]:
        """The shards of one split and pass, in the order of their names."""
        return [shard for shard in self.shards if shard.split == split and shard.pass_number == pass_number]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Declare the data set whole. Nothing of it may be written after this."""
    atomic_write_text(folder / MANIFEST, manifest_text(manifest))


def manifest_text(manifest: Manifest) -> str:
    """What `manifest.json` holds."""
    return manifest.model_dump_json(by_alias=True, indent=1) + "\n"


def read_manifest(place: str | Path) -> Manifest:
    """The manifest of a whole data set, in a folder or at a URL.

    `UserError` when there is none or it is not one of ours.
    """
    store = store_at(place)
    content = store.read(MANIFEST)
    if content is None:
        state = "not finished, or not a data set" if Path(place).is_dir() else "no such data set, or not finished"
        raise UserError(state, place=str(place), fix="make it with `bertrain prepare RECIPE`")
    return parse_manifest(content, f"{store.place}/{MANIFEST}")


def existing_shards(manifest: Manifest, place: str, split: Split, pass_number: int) -> list[ShardEntry]:
    """The shards of a split and pass of the data set at `place`; `UserError` where it has none."""
    shards = manifest.select(split, pass_number)
    if not shards:
        passes = manifest.dupe_factor if split == "train" else 1
        fix = f"take one of the passes 0 to {passes - 1}; held_out is empty where held_out_fraction is 0"
        raise UserError(f"no {split} rows in pass {pass_number}", place=place, fix=fix)
    return shards


def parse_manifest(content: bytes, place: str) -> Manifest:
    """The manifest in a file's bytes; `UserError`, naming its place, when it is not one of ours."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"not a manifest of this version ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise UserError(cause, place=place, fix=_PREPARE_AGAIN) from error
    if manifest.format_version != FORMAT_VERSION:
        raise UserError(
            f"format version {manifest.format_version}, but this bertrain reads {FORMAT_VERSION}",
            place=place,
            fix=_PREPARE_AGAIN,
        )
    return manifest
