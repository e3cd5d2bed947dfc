"""A data set where it lies: a folder that is read in place, or a folder or URL whose shards are staged first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.errors import UserError
from configs.schema import TrainConfig
from preprocessing.dataset import (
    MANIFEST,
    VOCABULARY,
    Manifest,
    Rows,
    ShardEntry,
    check_shard,
    parse_manifest,
    read_manifest,
    read_shard,
)
from pretrain.data.staging import GIB, StagingArea, StoredFile, open_stored, stored_bytes


@dataclass(frozen=True)
class Dataset:
    """A whole data set, opened for training."""

    place: str  # folder or URL
    manifest: Manifest
    stage: StagingArea | None = None  # None: shards are mapped where they lie

    def vocabulary_path(self) -> Path:
        """Its `vocab.txt`, on this machine; `UserError` when that of a staged data set is not the manifest's."""
        place = f"{self.place}/{VOCABULARY}"
        if self.stage is None:
            return Path(place)
        try:
            return self.stage.path(StoredFile(place, stored_bytes(place), self.manifest.vocabulary.sha256))
        except FileNotFoundError as error:
            raise UserError("the vocabulary is missing", place=place, fix="copy the data set anew") from error

    def has_its_vocabulary(self) -> bool:
        """Whether its `vocab.txt` is the one that the rows were made with."""
        try:
            with open_stored(f"{self.place}/{VOCABULARY}") as stream:
                return hashlib.sha256(stream.read()).hexdigest() == self.manifest.vocabulary.sha256
        except FileNotFoundError:
            return False

    def open_shard(self, entry: ShardEntry, *, checked: bool) -> Rows:
        """The rows of a shard, mapped; `UserError` when its bytes are not those of the manifest.

        `checked` says that this process has opened it before: one that is read in place is not checked again.
        """
        if self.stage is None:
            if not checked:
                check_shard(Path(self.place), entry)
            return read_shard(Path(self.place) / entry.name)
        while True:
            with suppress(FileNotFoundError):  # another rank made room at this very moment
                return read_shard(self.stage.path(self.stored(entry)))

    def stored(self, entry: ShardEntry) -> StoredFile:
        """The shard's file, where the data set lies."""
        return StoredFile(f"{self.place}/{entry.name}", entry.bytes, entry.sha256)


def open_dataset(place: str, train: TrainConfig) -> Dataset:
    """The data set in a folder or at a URL; `UserError` when there is none that is whole."""
    if "://" not in place and train.stage_in is None:
        return Dataset(place, read_manifest(Path(place)))
    try:
        with open_stored(f"{place}/{MANIFEST}") as stream:
            manifest = parse_manifest(stream.read(), f"{place}/{MANIFEST}")
    except FileNotFoundError as error:
        fix = "make it with `bertrain prepare RECIPE`"
        raise UserError("no such data set, or not finished", place=place, fix=fix) from error
    return Dataset(place, manifest, _stage(train.stage_in or tempfile.gettempdir(), train.stage_gib))


@cache
def _stage(folder: str, most_gib: float) -> StagingArea:
    """One for all data sets of a process: they share its bound."""
    return StagingArea(Path(os.path.expandvars(folder)).expanduser(), int(most_gib * GIB))
