from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from configs.errors import UserError
from preprocessing.dataset.figures import Split
from preprocessing.dataset.manifest import Manifest, ShardEntry
from preprocessing.dataset.shard import read_shard
from pretrain.data import shards as shards_module, staging
from pretrain.data.dataset import Dataset
from pretrain.data.loader import HeldOut, Loader, held_out_by_corpus
from pretrain.data.shards import Shards
from pretrain.data.staging import StagingArea, StoredFile
from pretrain.data.step import Step
from pretrain.model.batch import NO_LABEL, Batch
from tests.pretrain.batches import single_rows
from tests.pretrain.synthetic import CLS, SEP, write_dataset

Content = tuple[object, ...]
TRAIN, HELD_OUT = [[13, 20, 7], [20, 5, 11]], [6, 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, TRAIN, HELD_OUT, full_share=0.3)
    return folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def loader(
    folder: Path,
    manifest: Manifest,
    rank: int = 0,
    world_size: int = 1,
    micro_batch_size: int = 4,
    stage: StagingArea | None = None,
    pad_tokens_to: int = 1,
) -> Loader:
    return Loader(
        [Dataset(str(folder), manifest, stage)],
        seed=5,
        shuffle_window_rows=16,
        rank=rank,
        world_size=world_size,
        micro_batch_size=micro_batch_size,
        pad_tokens_to=pad_tokens_to,
    )


def content_of_batch(batch: Batch) -> list[Content]:
    """Each row's content, without filler rows."""
    return [
        tuple(
            tuple(column.tolist())
            for column in (
                row.input_ids,
                row.token_type_ids,
                row.position_ids,
                row.masked_positions,
                row.masked_ids,
                row.next_sentence_label,
            )
        )
        for row in single_rows(batch)
        if row.next_sentence_label.item() != NO_LABEL
    ]


def content_of_shards(folder: Path, manifest: Manifest, split: Split, pass_number: int) -> list[Content]:
    """The same content, read row by row with preprocessing.dataset."""
    found: list[Content] = []
    for entry in manifest.select(split, pass_number):
        rows = read_shard(folder / entry.name)
        for row in range(len(rows)):
            tokens = slice(rows.input_offsets[row], rows.input_offsets[row + 1])
            masked = slice(rows.masked_offsets[row], rows.masked_offsets[row + 1])
            length, segment_a = tokens.stop - tokens.start, int(rows.segment_a_length[row])
            found.append(
                (
                    tuple(rows.input_ids[tokens].tolist()),
                    (0,) * segment_a + (1,) * (length - segment_a),
                    tuple(range(length)),
                    tuple(rows.masked_lm_positions[masked].tolist()),
                    tuple(rows.masked_lm_ids[masked].tolist()),
                    (int(rows.next_sentence_label[row]),),
                )
            )
    return found


def all_content(steps: list[Step]) -> list[Content]:
    return [row for step in steps for batch in step.batches for row in content_of_batch(batch)]


@pytest.mark.parametrize("world_size", [1, 3])
def test_epoch_has_each_row_once_and_epochs_cycle_through_passes(
    folder: Path, manifest: Manifest, world_size: int
) -> None:
    ranks = [loader(folder, manifest, rank, world_size) for rank in range(world_size)]
    first = [rank.step(cursor, 8) for rank in ranks for cursor in range(0, 40, 8)]
    second = [rank.step(40, 36) for rank in ranks]
    assert Counter(all_content(first)) == Counter(content_of_shards(folder, manifest, "train", 0))
    assert Counter(all_content(second)) == Counter(content_of_shards(folder, manifest, "train", 1))


def test_provenance_columns_do_not_change_batches(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    with_columns = write_dataset(tmp_path / "dataset", TRAIN, HELD_OUT, full_share=0.3, provenance=True)
    assert read_shard(tmp_path / "dataset" / with_columns.shards[0].name).provenance is not None
    [step, other] = [loader(folder, manifest), loader(tmp_path / "dataset", with_columns)]
    assert all_content([step.step(0, 40)]) == all_content([other.step(0, 40)])


def test_step_has_the_same_rows_at_any_world_size(folder: Path, manifest: Manifest) -> None:
    alone = loader(folder, manifest).step(33, 21)  # straddles two epochs
    for world_size, micro_batch_size in ((2, 4), (5, 1), (30, 8)):
        steps = [
            loader(folder, manifest, rank, world_size, micro_batch_size).step(33, 21) for rank in range(world_size)
        ]
        assert Counter(all_content(steps)) == Counter(all_content([alone]))
        for step in steps:
            assert (step.rows_digest, step.rows, step.tokens, step.masked_tokens, step.lengths.tolist()) == (
                alone.rows_digest, alone.rows, alone.tokens, alone.masked_tokens, alone.lengths.tolist(),
            )  # fmt: skip
        assert len({len(step.batches) for step in steps}) == 1
        counts = [sum(len(content_of_batch(batch)) for batch in step.batches) for step in steps]
        assert max(counts) - min(counts) <= 1


def test_step_totals_match_its_batches(folder: Path, manifest: Manifest) -> None:
    step = loader(folder, manifest).step(2, 10)
    lengths = torch.cat([batch.offsets.diff() for batch in step.batches]).long()
    assert (step.cursor, step.rows, len(step.batches)) == (2, 10, 3)
    assert step.tokens == int(lengths.sum()) == sum(len(batch.input_ids) for batch in step.batches)
    assert sorted(step.lengths.tolist()) == sorted(lengths.tolist())
    assert step.masked_tokens == sum(len(batch.masked_ids) for batch in step.batches)
    positions = sum(batch.max_length * len(batch) for batch in step.batches)
    assert step.padding_pct == pytest.approx(100 * (1 - step.tokens / positions))
    assert step.imbalance_pct == 0
    for batch in step.batches:
        assert batch.max_length == int(batch.offsets.diff().max())
        assert (batch.offsets.dtype, batch.input_ids.dtype) == (torch.int32, torch.int64)


def test_imbalance_is_the_excess_of_the_fullest_rank(folder: Path, manifest: Manifest) -> None:
    steps = [loader(folder, manifest, rank, 2).step(0, 3) for rank in range(2)]
    tokens = [sum(len(batch.input_ids) for batch in step.batches) for step in steps]
    assert [step.imbalance_pct for step in steps] == pytest.approx([100 * (max(tokens) / (sum(tokens) / 2) - 1)] * 2)


def test_padded_micro_batches_begin_with_the_own_rows_and_are_counted(folder: Path, manifest: Manifest) -> None:
    plain, filled = (
        [loader(folder, manifest, rank, 3, pad_tokens_to=multiple).step(0, 14) for rank in range(3)]
        for multiple in (1, 64)
    )
    batches = [batch for step in filled for batch in step.batches]
    assert {len(batch.input_ids) % 64 for batch in batches} == {len(batch.masked_ids) % 8 for batch in batches} == {0}
    for batch, own in zip(batches, [batch for step in plain for batch in step.batches], strict=True):
        assert torch.equal(batch.input_ids[: len(own.input_ids)], own.input_ids)
        assert torch.equal(batch.offsets[: len(own) + 1], own.offsets)
        assert len(batch) == len(own)
    tokens = sum(len(batch.input_ids) for batch in batches)
    for step, own_step in zip(filled, plain, strict=True):
        assert step.padding_pct == pytest.approx(100 * (1 - step.tokens / tokens))
        assert (step.tokens, step.masked_tokens, step.rows_digest) == (
            own_step.tokens, own_step.masked_tokens, own_step.rows_digest,
        )  # fmt: skip


def test_a_filler_of_a_rank_without_rows_is_padded_and_counted(folder: Path, manifest: Manifest) -> None:
    steps = [loader(folder, manifest, rank, 4, pad_tokens_to=16).step(0, 2) for rank in range(4)]
    tokens = [len(step.batches[0].input_ids) for step in steps]
    assert [count % 16 for count in tokens] == [0] * 4
    assert steps[0].padding_pct == pytest.approx(100 * (1 - steps[0].tokens / sum(tokens)))


def test_rank_without_rows_gets_a_filler(folder: Path, manifest: Manifest) -> None:
    steps = [loader(folder, manifest, rank, 4).step(0, 2) for rank in range(4)]
    fillers = [step.batches[0] for step in steps if step.batches[0].next_sentence_label.tolist() == [NO_LABEL]]
    assert [filler.input_ids.tolist() for filler in fillers] == [[CLS, SEP]] * 2
    assert all(len(filler.masked_ids) == 0 for filler in fillers)


def test_step_is_pure_and_its_digest_identifies_rows_and_order(folder: Path, manifest: Manifest) -> None:
    one = loader(folder, manifest)
    first, again = one.step(0, 8), (one.step(16, 8), one.step(0, 8))[1]
    assert first.rows_digest == again.rows_digest
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(first.batches, again.batches, strict=True))
    assert len({one.step(cursor, 8).rows_digest for cursor in range(40)}) == 40
    assert len(first.rows_digest) == 16
    assert int(first.rows_digest, 16) >= 0


def test_read_ahead_steps_keep_contents_and_order(folder: Path, manifest: Manifest) -> None:
    one, sizes = loader(folder, manifest), [3, 8, 1, 20, 9]
    ahead = list(one.steps(7, iter(sizes)))
    cursors = np.cumsum([7, *sizes[:-1]]).tolist()
    apart = [one.step(cursor, size) for cursor, size in zip(cursors, sizes, strict=True)]
    assert [step.cursor for step in ahead] == cursors
    assert [step.rows_digest for step in ahead] == [step.rows_digest for step in apart]
    assert all_content(ahead) == all_content(apart)


def test_closing_early_ends_the_thread(folder: Path, manifest: Manifest) -> None:
    steps = loader(folder, manifest).steps(0, [4] * 1000)
    next(steps)
    assert any(thread.name.startswith("loader") for thread in threading.enumerate())
    steps.close()
    assert not any(thread.name.startswith("loader") for thread in threading.enumerate())


def test_damaged_shard_raises_at_the_step_that_reads_it(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[4, 4, 4]])
    one = Loader(
        [Dataset(str(tmp_path / "dataset"), manifest)],
        seed=0,
        shuffle_window_rows=1,
        rank=0,
        world_size=1,
        micro_batch_size=4,
    )
    last_shard = int(one.order.rows(8, 1)[0][0])
    damaged = tmp_path / "dataset" / manifest.select("train", 0)[last_shard].name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    steps = one.steps(0, [4, 4, 4, 4])
    assert [next(steps).cursor, next(steps).cursor] == [0, 4]
    with pytest.raises(UserError, match=damaged.name):
        next(steps)


def test_damaged_held_out_shard_is_found_by_a_check(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[4]], [4, 4, 4])
    dataset = Dataset(str(tmp_path / "dataset"), manifest)
    entries = manifest.select("held_out", 0)
    few, all_rows = (HeldOut(dataset, max_rows=rows, rank=0, world_size=1, micro_batch_size=4) for rows in (8, 10))
    assert [list(held_out.check()) for held_out in (few, all_rows)] == [entries[:2], entries]
    damaged = tmp_path / "dataset" / entries[2].name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    fresh = HeldOut(dataset, max_rows=10, rank=0, world_size=1, micro_batch_size=4)
    with pytest.raises(UserError, match=damaged.name):
        list(fresh.check())
    assert list(few.check()) == entries[:2]  # an evaluation never reads the third


def shards_of(folder: Path, manifest: Manifest, entries: list[ShardEntry]) -> Shards:
    dataset = Dataset(str(folder / "dataset"), manifest)
    return Shards([(dataset, entry) for entry in entries])


def test_rows_that_contradict_the_manifest_are_refused(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]])
    for change in ({"rows": 4}, {"rows": 6}):
        entries = [entry.model_copy(update=change) for entry in manifest.shards]
        with pytest.raises(UserError, match="does not contain the rows"):
            shards_of(tmp_path, manifest, entries)[0]
    smaller = manifest.vocabulary.model_copy(update={"size": 20})
    for wrong in (
        manifest.model_copy(update={"vocabulary": smaller}),
        manifest.model_copy(update={"max_seq_length": 9}),
    ):
        with pytest.raises(UserError, match="does not contain the rows"):
            shards_of(tmp_path, wrong, manifest.shards)[0]
    assert len(shards_of(tmp_path, manifest, manifest.shards)[0]) == 5


def test_number_of_open_mappings_is_limited(folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MAX_OPEN", 1)
    steps = [loader(folder, manifest).step(0, 40)]
    assert Counter(all_content(steps)) == Counter(content_of_shards(folder, manifest, "train", 0))


def test_memory_does_not_grow_over_an_epoch(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, [[4_000] * 4], max_seq_length=128)
    reader, held_mib = loader(tmp_path, manifest, micro_batch_size=50), []
    for cursor in range(0, 16_000, 500):
        reader.step(cursor, 500)
        memory = psutil.Process().memory_info()
        held_mib.append((memory.rss - memory.shared) / (1 << 20))  # without the mapped shards
    assert max(held_mib[8:]) - held_mib[7] < 8  # of the 33 MiB that have been read since


def test_a_large_vocabulary(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[30]], vocabulary_size=70_000)
    step = loader(tmp_path / "dataset", manifest).step(0, 30)
    assert Counter(all_content([step])) == Counter(content_of_shards(tmp_path / "dataset", manifest, "train", 0))
    assert max(int(batch.input_ids.max()) for batch in step.batches) > 65_536


def held_out(folder: Path, manifest: Manifest, rank: int, world_size: int, max_rows: int) -> HeldOut:
    dataset = Dataset(str(folder), manifest)
    return HeldOut(dataset, max_rows=max_rows, rank=rank, world_size=world_size, micro_batch_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_held_out_rows_are_the_first_rows_in_order(folder: Path, manifest: Manifest, world_size: int) -> None:
    expected = content_of_shards(folder, manifest, "held_out", 0)
    for max_rows in (11, 100):
        ranks = [held_out(folder, manifest, rank, world_size, max_rows) for rank in range(world_size)]
        taken = [list(rank.steps()) for rank in ranks]
        count = min(max_rows, 15)
        assert {rank.rows for rank in ranks} == {count}
        assert Counter(row for steps in taken for row in all_content(steps)) == Counter(expected[:count])
        assert len({len(steps) for steps in taken}) == 1
        assert {len(step.batches) for steps in taken for step in steps} == {1}
        assert sum(step.rows for step in taken[0]) == count


def test_a_data_set_without_held_out_rows(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]])
    reader = held_out(tmp_path / "dataset", manifest, 0, 1, 100)
    assert (reader.rows, list(reader.steps())) == (0, [])


def test_staged_shards_give_equal_steps_within_the_size_limit(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    stage = StagingArea(tmp_path, sum(sorted(entry.bytes for entry in manifest.shards)[-4:]))
    staged = Loader(
        [Dataset(f"file://{folder}", manifest, stage)],
        seed=5,
        shuffle_window_rows=16,
        rank=0,
        world_size=1,
        micro_batch_size=4,
    )
    sizes = [9] * 12
    steps = list(staged.steps(3, sizes))
    assert all_content(steps) == all_content(list(loader(folder, manifest).steps(3, sizes)))
    kept = [path for path in stage.folder.iterdir() if path.is_file() and not path.suffix]
    assert 0 < sum(path.stat().st_size for path in kept) <= stage.most_bytes
    assert len(kept) < len(manifest.select("train", 0)) + len(manifest.select("train", 1))


def test_slow_reads_keep_the_order_and_do_not_delay_staged_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[8] * 16])  # windows of 16 rows: two shards, eight steps
    copy, waits = staging._copy, []

    def slowly(place: str, partial: Path) -> str:
        time.sleep(0.05)
        return copy(place, partial)

    class Watched(StagingArea):
        def path(self, file: StoredFile) -> Path:
            if threading.current_thread().name.startswith("loader"):
                waits.append(not (self.folder / file.sha256).exists())
            return super().path(file)

    monkeypatch.setattr(staging, "_copy", slowly)
    stage, sizes = Watched(tmp_path / "stage", 1 << 30), [2] * 64
    steps = []
    for step in loader(tmp_path / "dataset", manifest, stage=stage).steps(0, sizes):
        steps.append(step)
        while any(not (stage.folder / file.sha256).exists() for file in stage._expected):
            time.sleep(0.005)  # a step of a few hundredths of a second, however busy the machine is
    assert all_content(steps) == all_content(list(loader(tmp_path / "dataset", manifest).steps(0, sizes)))
    assert waits[2:] == [False] * 14  # the first window had to be waited for


def test_mixture_has_rows_of_all_data_sets(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", [[500]], seed=9)
    datasets = [Dataset(str(folder), manifest), Dataset(str(tmp_path / "other"), other)]
    place: dict[str, Any] = {"seed": 5, "shuffle_window_rows": 16, "rank": 0, "world_size": 1, "micro_batch_size": 64}
    mixed = Loader(datasets, [1.0, 3.0], **place)
    found = Counter(all_content([mixed.step(0, 150)]))
    of_first = Counter(content_of_shards(folder, manifest, "train", 0))
    of_other = Counter(content_of_shards(tmp_path / "other", other, "train", 0))
    assert sum((found & of_first).values()) + sum((found & of_other).values()) == 150
    assert 20 < sum((found & of_first).values()) <= 40  # the first of its two passes is not over
    assert set(found.values()) == {1}


def test_rows_to_evaluate_are_divided_among_corpora(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]], [4, 10, 3, 10])
    held_out = iter([0, 1, 0, 2])
    shards = [
        entry.model_copy(update={"corpus": next(held_out)}) if entry.split == "held_out" else entry
        for entry in manifest.shards
    ]
    mixed = manifest.model_copy(update={"shards": shards})
    parts = held_out_by_corpus(mixed, 100)
    assert {corpus: ([entry.rows for entry in entries], rows) for corpus, (entries, rows) in parts.items()} == {
        0: ([4, 3], 7), 1: ([10], 10), 2: ([10], 10),
    }  # fmt: skip
    assert [rows for _, rows in held_out_by_corpus(mixed, 9).values()] == [3, 3, 3]
    assert [rows for _, rows in held_out_by_corpus(mixed, 24).values()] == [7, 8, 9]
    assert [rows for _, rows in held_out_by_corpus(mixed, 1).values()] == [0, 0, 1]
    (alone,) = held_out_by_corpus(manifest, 11).values()  # of format 1
    assert alone == (manifest.select("held_out", 0), 11)
    assert held_out_by_corpus(manifest.model_copy(update={"shards": []}), 11) == {}


@pytest.mark.parametrize("world_size", [1, 3])
def test_tokens_bound_micro_batches_of_the_same_rows(folder: Path, manifest: Manifest, world_size: int) -> None:
    place: dict[str, Any] = {"seed": 5, "shuffle_window_rows": 16, "world_size": world_size, "micro_batch_size": 8}
    dataset = Dataset(str(folder), manifest)
    bounded = [Loader([dataset], rank=rank, micro_batch_tokens=64, **place).step(4, 30) for rank in range(world_size)]
    (whole,) = [loader(folder, manifest).step(4, 30)]
    assert {step.rows_digest for step in bounded} == {whole.rows_digest}
    assert sorted(all_content(bounded)) == sorted(all_content([whole]))
    assert len({len(step.batches) for step in bounded}) == 1
    assert max(len(batch.input_ids) for step in bounded for batch in step.batches) <= 64
    held_out = HeldOut(dataset, max_rows=15, rank=0, world_size=1, micro_batch_size=8, micro_batch_tokens=64)
    steps = list(held_out.steps())
    assert sorted(all_content(steps)) == sorted(content_of_shards(folder, manifest, "held_out", 0))
    assert max(len(batch.input_ids) for step in steps for batch in step.batches) <= 64
