"""Settings that a command refuses or names before it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import DataConfig, Recipe, TrainConfig
from launch.display.planning import vocabulary_size
from launch.display.settings import (
    check_gpus,
    check_nodes,
    make_private,
    settle_chain,
    warn_of_settings,
)
from preprocessing.dataset import write_manifest
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
    assert size_of(str(tmp_path / "earlier" / "vocab.txt")) == 500  # of a data set to come
    assert "does not exist" in caplog.text
    for name in ("none.txt", "earlier/none.txt"):
        with pytest.raises(UserError, match="no such vocabulary"):
            size_of(str(tmp_path / name))


def test_a_vocabulary_of_a_chain_is_made_before_it_is_used(tmp_path: Path) -> None:
    first = Recipe(name="first", data=DataConfig(dataset=str(tmp_path / "first")))
    vocabulary = {"file": str(tmp_path / "first" / "vocab.txt")}
    data = DataConfig.model_validate({"dataset": str(tmp_path / "second"), "vocabulary": vocabulary})
    second = Recipe(name="second", data=data)
    assert settle_chain([first, second], prepares=True) == [first, second]
    for recipes, prepares in (([first, second], False), ([second, first], True)):
        with pytest.raises(UserError, match=r"no such vocabulary"):
            settle_chain(recipes, prepares=prepares)


def test_a_queued_recipe_states_what_its_data_set_determines(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[40]])
    made = DataConfig(max_seq_length=32, seed=7)
    write_manifest(tmp_path / "dataset", manifest.model_copy(update={"recipe": made.byte_fields()}))
    table = {"data": {"dataset": str(tmp_path / "dataset")}, "optimizer": {"warmup_share": 0.1}}
    recipe = Recipe.model_validate(table | {"train": {"epochs": 2.0, "global_batch_size": 8}})
    (settled,) = settle_chain([recipe], prepares=False)
    assert (settled.train.steps, settled.train.epochs) == (10, 2.0)
    assert (settled.data.seed, settled.data.max_seq_length) == (7, 32)
    assert settle_chain([recipe], prepares=True) == [recipe]


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"device": "cpu", "gpus_per_node": 4}, 'cluster.gpus_per_node = 4: cluster.device is "cpu"'),
        ({"device": "cuda"}, 'cluster.gpus_per_node = 0: cluster.device is "cuda"'),
        ({"gpus_per_node": 4, "ranks_per_node": 8}, "cluster.ranks_per_node is 8, but a rank needs a GPU of its own"),
    ],
)
def test_gpus_that_contradict_the_device_or_the_ranks_are_refused(cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        check_gpus(recipe_with(**cluster))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "cluster",
    [
        {"device": "cpu", "ranks_per_node": 8},
        {"device": "cuda", "sbatch_options": ["--gres=gpu:4"]},
        {"device": "cuda", "gpus_per_node": 4, "ranks_per_node": 2},
        {"gpus_per_node": 4},
        {"ranks_per_node": 2},
    ],
)
def test_gpus_that_agree_are_accepted(cluster: dict[str, Any]) -> None:
    check_gpus(recipe_with(**cluster))
