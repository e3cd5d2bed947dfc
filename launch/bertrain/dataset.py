"""Data sets: making one, and reading its rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bertrain.recipes import Recipe, resolved
from bertrain.rows import RowSequence
from preprocessing.dataset import (
    Manifest,
    Rows,
    ShardEntry,
    Split,
    existing_shards,
    local_shard,
    open_sound_shard,
    read_manifest,
    read_sound_shard,
)
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary

if TYPE_CHECKING:
    import datasets

    from bertrain.torch_rows import TorchRows
    from preprocessing.documents import Progress


class Dataset:
    """A finished data set, opened for reading.

    Args:
        place: its folder or URL.

    Raises:
        UserError: there is no data set, or it is not finished.

    Examples:
        >>> dataset = bertrain.Dataset("datasets/demo")
        >>> dataset.manifest.objective, dataset.vocabulary.pieces[dataset.rows()[0].input_ids[0]]
        ('nsp', '[CLS]')
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self.manifest: Manifest = read_manifest(self.place)
        self._store = store_at(self.place)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r})"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its ids; `vocabulary.tokenizer()` is that of Hugging Face `tokenizers`."""
        return Vocabulary.of_data_set(self._store, self.manifest.vocabulary)

    def shards(self, split: Split = "train", pass_number: int = 0) -> list[ShardEntry]:
        """The manifest's entries of the shards of one split ("train", "held_out") and pass, by name.

        Raises:
            UserError: the split has no such pass; held-out rows are those of pass 0 alone.
        """
        return existing_shards(self.manifest, self.place, split, pass_number)

    def open_shard(self, shard: ShardEntry) -> Rows:
        """All rows of a shard in columns: NumPy views on its memory mapping, the ragged ones with offsets.

        Row n has the tokens `rows.input_ids[rows.input_offsets[n] : rows.input_offsets[n + 1]]`.

        Raises:
            UserError: the shard is missing or damaged, or its rows are not those that the manifest describes.
        """
        return open_sound_shard(self._store, shard, self.manifest)

    def rows(self, split: Split = "train", pass_number: int = 0) -> RowSequence:
        """The rows of one split and pass, in the order of their shards, as a sequence of `Row`."""
        return RowSequence(self._store, self.shards(split, pass_number), self.manifest)

    def to_torch(self, split: Split = "train", pass_number: int = 0) -> TorchRows:
        """The same rows as a map-style torch dataset of dicts that transformers' `BertForPreTraining` takes.

        Needs torch, which the extra `train` installs.

        Examples:
            >>> rows = dataset.to_torch()
            >>> loader = torch.utils.data.DataLoader(rows, batch_size=32, shuffle=True, collate_fn=rows.collate)
        """
        from bertrain.torch_rows import TorchRows

        has_pairs = self.manifest.objective != "none"
        return TorchRows(self.rows(split, pass_number), self.manifest.vocabulary.pad_id, has_pairs=has_pairs)

    def to_hugging_face(self, split: Split = "train", pass_number: int = 0) -> datasets.Dataset:
        """The same rows as a Hugging Face `datasets.Dataset` with the shards' columns, memory-mapped, not copied.

        Needs the package `datasets`. Raises `UserError` when a shard is missing or damaged.
        """
        import datasets
        import pyarrow as pa

        tables = []
        for shard in self.shards(split, pass_number):
            with local_shard(self._store, shard) as path:
                read_sound_shard(path, self.place, shard, self.manifest)
                tables.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        table = datasets.table.InMemoryTable(pa.concat_tables(tables))
        return datasets.Dataset(table, fingerprint=f"{self.manifest.digest}-{split}-{pass_number}")


def prepare(
    recipe: Recipe | str | Path, *, overwrite: bool = False, progress: Callable[[Progress], None] | None = None
) -> Dataset:
    """Make the data set that a recipe describes, resume an interrupted preparation, or find the finished data set.

    The same input and recipe give the same bytes, whatever the number of workers (`data.workers`).

    Args:
        recipe: a recipe, or what `load_recipe` takes.
        overwrite: replace a data set of another recipe.
        progress: called a few times per second with the stage, bytes, documents and groups done.

    Returns:
        The data set in `recipe.data.dataset`.

    Raises:
        UserError: the input cannot be used, or the folder holds something else.

    Examples:
        >>> dataset = bertrain.prepare("news.toml")
        >>> len(dataset.rows("train"))
        184213
    """
    import preprocessing.pipeline
    from launch.display import warn_of_settings

    wanted = resolved(recipe)
    warn_of_settings(wanted)
    data = wanted.data
    preprocessing.pipeline.prepare(data, overwrite=overwrite, progress=progress)
    return Dataset(data.dataset)
