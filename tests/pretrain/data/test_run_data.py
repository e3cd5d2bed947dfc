"""A run is complete in itself: it is used when its data set is gone, and it tolerates a damaged copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.run_layout import DATA
from configs.schema import TrainConfig
from preprocessing.dataset.manifest import MANIFEST, VOCABULARY
from pretrain.data.dataset import Dataset, open_dataset
from pretrain.data.run_data import MOST_ROWS, ROWS, RunData, keep_data, kept_data
from pretrain.huggingface.pretrained import load_pretrained
from tests.pretrain.runs import VOCAB, some_model, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, some_model())


def dataset_of(run: Path) -> Dataset:
    return open_dataset(str(run.parents[1] / "dataset"), TrainConfig())


def test_the_copy_is_what_the_data_set_holds(run: Path) -> None:
    dataset = dataset_of(run)
    assert kept_data(run) is None
    keep_data(run, dataset)
    kept = kept_data(run)
    assert kept == RunData.of(dataset)
    assert (kept.vocabulary, len(kept.rows)) == (VOCAB, MOST_ROWS)
    rows = dataset.open_shard(dataset.manifest.select("held_out", 0)[0], checked=False)
    assert kept.rows[1].input_ids == rows.input_ids[slice(*rows.input_offsets[1:3])].tolist()
    assert kept.rows[1].masked_lm_positions == rows.masked_lm_positions[slice(*rows.masked_offsets[1:3])].tolist()


def test_a_moved_run_without_its_data_set_gives_its_model(run: Path, tmp_path: Path) -> None:
    keep_data(run, dataset_of(run))
    shutil.rmtree(tmp_path / "dataset")
    moved = run.rename(tmp_path / "elsewhere")
    assert load_pretrained(moved).vocabulary == VOCAB
    assert load_pretrained(moved / "checkpoints" / "step_00000007").vocabulary == VOCAB


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (VOCABULARY, b"[PAD]\n"),
        (MANIFEST, b"{"),
        (ROWS, b"[]"),
        (ROWS, b'[{"input_ids": [999999], "segment_a_length": 1, "masked_lm_positions": []}]'),
        (ROWS, b'[{"input_ids": [5], "segment_a_length": 1, "masked_lm_positions": [7]}]'),
        (ROWS, b'[{"input_ids": [], "segment_a_length": 0, "masked_lm_positions": []}]'),
        (ROWS, b"\x00"),
    ],
)
def test_a_damaged_copy_is_named_and_made_again(
    run: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keep_data(run, dataset_of(run))
    (run / DATA / name).write_bytes(content)
    assert load_pretrained(run).vocabulary == VOCAB  # the data set's
    assert "is damaged" in caplog.text
    keep_data(run, dataset_of(run))
    assert kept_data(run) == RunData.of(dataset_of(run))


def test_a_copy_that_cannot_be_written_does_not_end_training(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / DATA).write_text("in the way")
    keep_data(run, dataset_of(run))
    assert "keeps no copy of its vocabulary" in caplog.text


def test_without_copy_and_data_set_the_run_says_what_is_missing(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "dataset")
    with pytest.raises(UserError, match=r"cannot open its data set, which holds the vocabulary.*Put it back"):
        load_pretrained(run)
