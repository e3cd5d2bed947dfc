"""Open a data set: a folder that is read in place, or a folder or URL whose shards are staged first."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.errors import UserError
from configs.schema import TrainConfig, expanded
from configs.units import GIB
from preprocessing.dataset import (
    Manifest,
    Rows,
    ShardEntry,
    check_shard,
    read_manifest,
    read_shard,
    read_sound_shard,
)
from preprocessing.storage import Store, is_url, store_at
from preprocessing.vocabulary import Vocabulary
from pretrain.data.staging import StagingArea, StoredFile


@dataclass(frozen=True)
class Dataset:
    """A complete data set, opened for training."""

    place: str  # folder or URL
    manifest: Manifest
    stage: StagingArea | None = None  # None: shards are memory-mapped in place

    @property
    def store(self) -> Store:
        """The store that holds the data set's files."""
        return store_at(self.place)

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary that the rows were made with. Raises `UserError` if it is missing or damaged."""
        return Vocabulary.of_data_set(self.store, self.manifest.vocabulary)

    def has_its_vocabulary(self) -> bool:
        """Return whether its file holds the vocabulary that the rows were made with."""
        return self.store.sha256(self.manifest.vocabulary.file) == self.manifest.vocabulary.sha256

    def open_shard(self, entry: ShardEntry, *, checked: bool) -> Rows:
        """Return a shard's rows, memory-mapped. Raises `UserError` if they are not those that the manifest describes.

        `checked` means that this process has opened the shard before: a shard read in place is not checked again.
        """
        if self.stage is None:
            path = Path(self.place) / entry.name
            if checked:
                return read_shard(path)
            check_shard(self.store, entry)
            return self._sound(path, entry)
        while True:
            with suppress(FileNotFoundError):  # another rank has just removed it to make room
                path = self.stage.path(self.stored(entry))
                return read_shard(path) if checked else self._sound(path, entry)

    def _sound(self, path: Path, entry: ShardEntry) -> Rows:
        return read_sound_shard(path, f"{self.place}/{entry.name}", entry, self.manifest)

    def stored(self, entry: ShardEntry) -> StoredFile:
        """Return the location, size and digest of a shard's file."""
        return StoredFile(f"{self.place}/{entry.name}", entry.bytes, entry.sha256)


def open_dataset(place: str, train: TrainConfig) -> Dataset:
    """Open the data set in a folder or at a URL. Raises `UserError` if it is missing or incomplete."""
    manifest = read_manifest(place)
    if not is_url(place) and train.stage_in is None:
        return Dataset(place, manifest)
    return Dataset(place, manifest, _stage(train.stage_in or tempfile.gettempdir(), train.stage_gib))


@cache
def _stage(folder: str, most_gib: float) -> StagingArea:
    """Return the staging area of this process; all its data sets share its size limit."""
    try:
        return StagingArea(Path(expanded(folder)), int(most_gib * GIB))
    except ValueError as error:
        fix = "set the variable on every node, or name a folder on the node's disk"
        raise UserError(str(error), place=f"train.stage_in = {folder!r}", fix=fix) from error
