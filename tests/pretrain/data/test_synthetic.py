from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs.schema import DataConfig
from preprocessing.dataset.manifest import read_manifest
from preprocessing.dataset.shard import read_shard
from preprocessing.inspection.verification import verify
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS
from pretrain.data.dataset import Dataset
from pretrain.data.synthetic import ROWS, write_synthetic
from pretrain.data.training_data import check_fits


def data(**fields: object) -> DataConfig:
    vocabulary = {"size": 300}
    base = {"max_seq_length": 48, "max_predictions_per_seq": 8, "vocabulary": vocabulary}
    return DataConfig.model_validate(base | fields)


@pytest.mark.parametrize("fields", [{}, {"objective": "sop", "max_seq_length": 16}, {"objective": "none"}])
def test_synthetic_data_set_is_valid_and_fits_its_recipe(tmp_path: Path, fields: dict[str, object]) -> None:
    folder, config = tmp_path / "dataset", data(**fields)
    manifest = write_synthetic(folder, config)
    assert read_manifest(folder) == manifest
    check_fits(Dataset(str(folder), manifest), config)
    assert [str(failure) for failure in verify(folder)] == []
    assert {shard.split: shard.rows for shard in manifest.shards} == ROWS


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    digests = [
        [shard.sha256 for shard in write_synthetic(tmp_path / str(number), data(seed=seed)).shards]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_lengths_and_words_are_spread(tmp_path: Path) -> None:
    manifest = write_synthetic(tmp_path / "dataset", data(short_seq_prob=0.5))
    rows = read_shard(tmp_path / "dataset" / manifest.select("train", 0)[0].name)
    lengths = np.diff(rows.input_offsets)
    assert (lengths.min(), lengths.max()) == (8, 48)
    assert 0.4 < (lengths == 48).mean() < 0.6
    counts = np.bincount(rows.masked_lm_ids, minlength=300)
    assert counts.argmax() == len(SPECIAL_TOKENS)  # Zipf: the first word is the most frequent
    assert 0 < rows.next_sentence_label.mean() < 1


def test_given_vocabulary_is_used(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join([*SPECIAL_TOKENS, "a", "b", "##c"]) + "\n")
    manifest = write_synthetic(tmp_path / "dataset", data(vocabulary={"file": str(file)}))
    assert manifest.vocabulary.size == 8
    assert (tmp_path / "dataset/vocab.txt").read_text() == file.read_text()
