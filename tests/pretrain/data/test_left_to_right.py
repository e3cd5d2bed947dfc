"""Rows from left to right: the same rows in the same order, unmasked, with the next token as the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.dataset.manifest import Manifest
from preprocessing.dataset.shard import read_shard
from pretrain.data.dataset import Dataset
from pretrain.data.loader import HeldOut, Loader
from tests.pretrain.batches import single_rows
from tests.pretrain.synthetic import write_dataset

Row = tuple[list[int], list[tuple[int, int]]]  # tokens, and the place and target of each prediction


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    return Dataset(str(folder), write_dataset(folder, [[13, 20, 7]], [9], full_share=0.3))


def loader_of(dataset: Dataset, rank: int = 0, world_size: int = 1, *, predicts_next: bool = True) -> Loader:
    place: dict[str, Any] = {"rank": rank, "world_size": world_size, "micro_batch_size": 4}
    return Loader([dataset], seed=5, shuffle_window_rows=16, predicts_next=predicts_next, **place)


def rows_of(step: Any) -> list[Row]:
    rows = [row for batch in step.batches for row in single_rows(batch) if int(row.next_sentence_label) >= 0]
    pairs = [zip(row.masked_positions.tolist(), row.masked_ids.tolist(), strict=True) for row in rows]
    return [(row.input_ids.tolist(), list(pair)) for row, pair in zip(rows, pairs, strict=True)]


def originals(place: str, manifest: Manifest, split: Any) -> list[Row]:
    """Each row with its masks undone, and its predictions, written as a loop over its tokens."""
    found = []
    for entry in manifest.select(split, 0):
        shard = read_shard(Path(place) / entry.name)
        for row in range(len(shard)):
            tokens = shard.input_ids[shard.input_offsets[row] : shard.input_offsets[row + 1]].tolist()
            masked = slice(shard.masked_offsets[row], shard.masked_offsets[row + 1])
            for position, original in zip(
                shard.masked_lm_positions[masked].tolist(), shard.masked_lm_ids[masked].tolist(), strict=True
            ):
                tokens[position] = original
            special = {0, int(shard.segment_a_length[row]) - 1, len(tokens) - 1}
            found.append((tokens, [(p - 1, token) for p, token in enumerate(tokens) if p not in special]))
    return found


def test_an_epoch_has_each_row_unmasked_once(dataset: Dataset) -> None:
    step = loader_of(dataset).step(0, 40)
    expected = originals(dataset.place, dataset.manifest, "train")
    assert sorted(rows_of(step)) == sorted(expected)
    assert step.masked_tokens == sum(len(targets) for _, targets in expected)


def test_the_order_is_that_of_the_masked_rows(dataset: Dataset) -> None:
    ours, masked = (loader_of(dataset, predicts_next=flag).step(8, 16) for flag in (True, False))
    assert ours.rows_digest == masked.rows_digest
    for row, other in zip(rows_of(ours), rows_of(masked), strict=True):
        places = [place for place, _ in other[1]]
        assert np.delete(row[0], places).tolist() == np.delete(other[0], places).tolist()


@pytest.mark.parametrize("world_size", [1, 3])
def test_all_ranks_together_have_the_rows_and_agree_on_the_count(dataset: Dataset, world_size: int) -> None:
    steps = [loader_of(dataset, rank, world_size).step(8, 10) for rank in range(world_size)]
    assert sorted(row for step in steps for row in rows_of(step)) == sorted(rows_of(loader_of(dataset).step(8, 10)))
    assert {step.masked_tokens for step in steps} == {
        sum(len(batch.masked_ids) for step in steps for batch in step.batches)
    }


def test_held_out_rows_are_predicted_in_the_same_way(dataset: Dataset) -> None:
    held_out = HeldOut(dataset, max_rows=9, rank=0, world_size=1, micro_batch_size=4, predicts_next=True)
    rows = [row for step in held_out.steps() for row in rows_of(step)]
    assert sorted(rows) == sorted(originals(dataset.place, dataset.manifest, "held_out"))
