"""Settings that a command refuses or names before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import DataConfig, Recipe, TrainConfig
from launch.display.planning import vocabulary_size
from launch.display.settings import check_nodes, make_private, warn_of_settings
from pretrain.data.dataset import open_dataset
from tests.pretrain.runs import VOCAB
from tests.pretrain.synthetic import write_dataset


def recipe_with(**cluster: object) -> Recipe:
    return Recipe.model_validate({"cluster": cluster})


def test_more_nodes_than_a_command_starts_ranks_on_are_refused() -> None:
    check_nodes(recipe_with(nodes=1), 2)
    check_nodes(recipe_with(nodes=4), 4)
    with pytest.raises(UserError, match=r"trains on 4 nodes, but this command starts ranks on 1.*--nnodes 4"):
        check_nodes(recipe_with(nodes=4), 1)


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_the_files_of_a_private_run_are_their_owners(private: bool, mode: int, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        make_private(recipe_with(private=private))
        (tmp_path / "file").write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_an_evaluation_without_held_out_rows_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]])
    warn_of_settings(Recipe(train=TrainConfig(evaluate_every_steps=2)), manifest)
    assert "the data set has no held-out rows" in caplog.text
    assert open_dataset(str(tmp_path / "dataset"), TrainConfig()).manifest == manifest


def test_a_vocabulary_that_does_not_exist_is_refused_before_training(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]])
    recipe = Recipe(data=DataConfig.model_validate({"vocabulary": {"file": str(tmp_path / "none.txt")}}))
    with pytest.raises(UserError, match="no such vocabulary"):
        warn_of_settings(recipe, manifest)


def test_a_plan_counts_the_pieces_of_a_given_vocabulary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    VOCAB.write(tmp_path / "vocab.txt")

    def size_of(file: str | None) -> int:
        data = DataConfig.model_validate({"vocabulary": {"file": file, "size": 500}})
        return vocabulary_size(data.vocabulary)

    assert size_of(str(tmp_path / "vocab.txt")) == len(VOCAB)
    assert size_of(None) == 500
    assert not caplog.records
    assert size_of(str(tmp_path / "none.txt")) == 500
    assert "does not exist" in caplog.text
