"""What a run keeps of its data set, so that its model can be used when the data set is moved or deleted.

RUN/data/vocab.txt       the vocabulary; or tokenizer.json
RUN/data/rows.json       the first held-out rows, with which an export is compared
RUN/data/manifest.json   the data set's manifest: casing, recipe, totals and statistics; written last
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from configs.errors import UserError
from configs.files import atomic_write, read_bounded
from configs.recipe import recipe_of_run, write_recipe
from configs.run_layout import DATA, RECIPE
from configs.schema import Recipe
from preprocessing.dataset import MANIFEST, SPLITS, Manifest, manifest_text, read_manifest
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary
from pretrain.data.dataset import Dataset

ROWS = "rows.json"
MOST_ROWS = 16

log = logging.getLogger(__name__)


class KeptRow(BaseModel):
    """One row as in a shard, without what was masked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_ids: list[int]
    segment_a_length: int
    masked_lm_positions: list[int]

    @model_validator(mode="after")
    def _positions_are_inside(self) -> Self:
        numbers = (*self.masked_lm_positions, self.segment_a_length - 1)
        if not all(0 <= number < len(self.input_ids) for number in numbers) or min(self.input_ids) < 0:
            raise ValueError("a position is outside the row")
        return self


_ROW_LIST = TypeAdapter(list[KeptRow])


@dataclass(frozen=True)
class RunData:
    """The data set's manifest and vocabulary, and its first held-out rows, or training rows if it has no others."""

    manifest: Manifest
    vocabulary: Vocabulary
    rows: list[KeptRow]

    @classmethod
    def of(cls, dataset: Dataset) -> RunData:
        """Read it from the data set. Raises `UserError` if a file is missing or damaged."""
        return cls(dataset.manifest, dataset.vocabulary(), _first_rows(dataset))

    def write(self, run: Path) -> None:
        """Write it into a run's folder."""
        folder = run / DATA
        folder.mkdir(exist_ok=True)
        self.vocabulary.write(folder / self.vocabulary.file)
        for name, text in ((ROWS, _ROW_LIST.dump_json(self.rows)), (MANIFEST, manifest_text(self.manifest).encode())):
            with atomic_write(folder / name) as stream:
                stream.write(text)


def keep_recipe(run: Path, recipe: Recipe) -> None:
    """Write the recipe as its data sets settle it, if the run was queued before they could. A failure is logged."""
    with suppress(UserError):
        if recipe_of_run(run) == recipe:
            return
    try:
        write_recipe(recipe, run / RECIPE)
    except OSError as error:
        log.error("%s: the recipe could not be written: %s", run / RECIPE, error.strerror)


def keep_data(run: Path, dataset: Dataset) -> None:
    """Write the run's copy unless it is there. A failure is logged: training does not depend on the copy."""
    kept = kept_data(run)
    if kept and kept.manifest.digest == dataset.manifest.digest:
        return
    try:
        RunData.of(dataset).write(run)
    except (OSError, UserError) as error:
        log.error("%s: the run keeps no copy of its vocabulary, and needs its data set: %s", run, error)


def kept_data(run: Path) -> RunData | None:
    """Return what the run keeps of its data set, or None for a run of an earlier version, and for a damaged copy."""
    folder = run / DATA
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_manifest(folder)
        vocabulary = Vocabulary.of_data_set(store_at(folder), manifest.vocabulary)
        rows = _ROW_LIST.validate_json(read_bounded(folder / ROWS))
        if not rows or max(max(row.input_ids) for row in rows) >= len(vocabulary):
            raise ValueError("the rows are not of this vocabulary")
    except (OSError, UserError, ValidationError, ValueError) as error:
        log.warning("%s: the copy of the vocabulary and of the first rows is damaged: %s", folder, error)
        return None
    return RunData(manifest, vocabulary, rows)


def _first_rows(dataset: Dataset) -> list[KeptRow]:
    shards = [shard for split in reversed(SPLITS) for shard in dataset.manifest.select(split, 0) if shard.rows]
    rows = dataset.open_shard(shards[0], checked=False)
    first = []
    for number in range(min(MOST_ROWS, len(rows))):
        inside = slice(*rows.input_offsets[number : number + 2])
        masked = slice(*rows.masked_offsets[number : number + 2])
        row = KeptRow(
            input_ids=rows.input_ids[inside].tolist(),
            segment_a_length=int(rows.segment_a_length[number]),
            masked_lm_positions=rows.masked_lm_positions[masked].tolist(),
        )
        first.append(row)
    return first
