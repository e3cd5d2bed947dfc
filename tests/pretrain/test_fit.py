from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.contract import Manifest
from preprocessing.vocabulary import SPECIAL_TOKENS
from pretrain.fit import check_fits
from tests.pretrain.synthetic import write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, [[13, 20], [20, 5]])
    return folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def recipe(folder: Path, **fields: object) -> DataConfig:
    vocabulary = {"size": 100, "lowercase": True}
    return DataConfig.model_validate({"dataset": str(folder), "vocabulary": vocabulary, **fields})


def test_a_data_set_that_fits(folder: Path, manifest: Manifest) -> None:
    check_fits(manifest, recipe(folder))


@pytest.mark.parametrize(
    ("fields", "change", "words"),
    [
        ({"max_seq_length": 24}, {}, "rows of up to 32 tokens, the recipe takes 24"),
        ({}, {"objective": "sop"}, "objective `sop`, the recipe says `nsp`"),
        ({"vocabulary": {"size": 100, "lowercase": False}}, {}, "vocabulary is lower-cased, the recipe's cased"),
        ({}, {"dupe_factor": 3}, "pass 2 of 3 has no training rows"),
        ({}, {"shards": []}, "pass 0 of 2 has no training rows"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(
    folder: Path, manifest: Manifest, fields: dict[str, object], change: dict[str, object], words: str
) -> None:
    fields = {"max_predictions_per_seq": 20, **fields}
    with pytest.raises(UserError, match=words) as refused:
        check_fits(manifest.model_copy(update=change), recipe(folder, **fields))
    assert refused.value.place == str(folder)
    assert refused.value.mend


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]], vocabulary_size=150)
    with pytest.raises(UserError, match="150 entries, the recipe's at most 100"):
        check_fits(manifest, recipe(tmp_path / "dataset"))
    given = tmp_path / "given.txt"
    given.write_text("\n".join([*SPECIAL_TOKENS, "other"]))
    with pytest.raises(UserError, match=r"vocabulary is not that of .*given\.txt"):
        check_fits(manifest, recipe(tmp_path / "dataset", vocabulary={"file": str(given)}))
    (tmp_path / "dataset" / "vocab.txt").write_text("other\n")
    with pytest.raises(UserError, match=r"vocab\.txt is missing or not the vocabulary"):
        check_fits(manifest, recipe(tmp_path / "dataset", vocabulary={"size": 150}))
