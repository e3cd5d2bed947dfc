"""The present code opens, resumes, evaluates, exports and trains from files of earlier versions (tests/fixtures)."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from configs.recipe import load_recipe
from configs.run_layout import CHECKPOINTS, EVALUATION, RECIPE
from configs.tasks import load_tasks
from preprocessing.dataset import MANIFEST
from preprocessing.resuming import Identity
from pretrain.checkpoint.state import TrainingState, read_state
from pretrain.telemetry import read_metrics
from tests.integration.small import bertrain
from tests.preprocessing.corpora import digests

pytestmark = pytest.mark.slow  # a minute together: .ci/run names this file
FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.glob("v*"))


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the files that a version wrote."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def run_command(folder: Path, *arguments: str) -> str:
    """Run `bertrain ARGUMENTS`, which must succeed, and return its output."""
    ended = bertrain(folder, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def state_at(run: Path, step: int) -> TrainingState:
    return read_state(run / CHECKPOINTS / f"step_{step:08d}")


def records(run: Path) -> dict[int, dict[str, Any]]:
    """Return the metrics of each step."""
    return {record["step"]: record for record in read_metrics(run)}


def test_fixtures_of_an_earlier_version_exist() -> None:
    assert "v0_1" in VERSIONS


def test_recipes_of_an_earlier_version_load(folder: Path) -> None:
    for path in [*folder.glob("shipped/*.toml"), folder / "run.toml", folder / "lamb.toml"]:
        load_recipe(path)
    assert load_recipe(folder / "lamb").optimizer.name == "lamb"
    assert [task.name for task in load_tasks(folder / "tasks.toml")] == ["weather", "alike"]


def test_a_resolved_recipe_still_names_the_bytes_of_its_data_set(folder: Path) -> None:
    manifest = json.loads((folder / "dataset" / MANIFEST).read_text())
    assert load_recipe(folder / "run" / RECIPE).data.byte_fields() == manifest["recipe"]


def test_a_data_set_verifies_and_is_not_prepared_again(folder: Path) -> None:
    before = digests(folder / "dataset")
    run_command(folder, "verify", "dataset")
    run_command(folder, "prepare", "run.toml")
    assert digests(folder / "dataset") == before


def leave_unfinished(dataset: Path) -> None:
    """Leave the folder as version 0.1.0 did when it was interrupted in its last group."""
    manifest = json.loads((dataset / MANIFEST).read_text())
    recipe = manifest["recipe"]
    job = {"digest": Identity(recipe, manifest["input_digest"], None, format_version=1).digest, "recipe": recipe}
    (dataset / MANIFEST).unlink()
    (dataset / "groups" / "00002.0000.json").unlink()
    (dataset / ".prepare").mkdir()
    (dataset / ".prepare" / "job.json").write_text(json.dumps(job))


def damage_a_shard(dataset: Path) -> None:
    shard = next(dataset.glob("shards/*"))
    shard.write_bytes(shard.read_bytes()[:-1])


@pytest.mark.parametrize(("harm", "state"), [(leave_unfinished, "unfinished"), (damage_a_shard, "damaged")])
def test_an_incomplete_data_set_is_refused_and_left_alone(
    folder: Path, harm: Callable[[Path], None], state: str
) -> None:
    harm(folder / "dataset")
    before = digests(folder / "dataset")
    ended = bertrain(folder, "prepare", "run.toml")
    assert ended.returncode == 2
    assert state in ended.stderr
    assert "format version 1, but this bertrain prepares version 2" in ended.stderr
    after = digests(folder / "dataset")
    assert {name: after.get(name) for name in before} == before
    run_command(folder, "prepare", "run.toml", "--overwrite")
    run_command(folder, "verify", "dataset")


def test_a_run_resumes_at_its_cursor(folder: Path) -> None:
    before = state_at(folder / "run", 8)
    said = bertrain(folder, "train", "run.toml", "train.steps=10")
    assert said.returncode == 0, said.stderr
    assert "optimizer.decay_from_step=8" in said.stdout + said.stderr  # a longer training moves the learning rate
    after = state_at(folder / "run", 10)
    assert (before.cursor, after.cursor) == (128, 160)
    taken = records(folder / "run")
    assert list(taken) == list(range(1, 11))
    assert all(math.isfinite(taken[step]["loss"]) for step in (9, 10))


def test_one_rank_repeats_the_steps_of_two(folder: Path) -> None:
    recorded = records(folder / "run")
    shutil.rmtree(folder / "run" / CHECKPOINTS / "step_00000008")
    run_command(folder, "train", "run.toml", "cluster.ranks_per_node=1", "train.zero_stage=1")
    repeated = records(folder / "run")
    for step in range(5, 9):
        assert repeated[step]["rows"] == recorded[step]["rows"]
        assert repeated[step]["time_s"] != recorded[step]["time_s"]
    assert repeated[5]["mlm_loss"] == pytest.approx(recorded[5]["mlm_loss"], rel=0.01)


def test_lamb_with_a_growing_batch_resumes(folder: Path) -> None:
    before = state_at(folder / "lamb", 6)
    run_command(folder, "train", "lamb.toml", "train.steps=8", "cluster.ranks_per_node=1")
    assert state_at(folder / "lamb", 8).cursor == before.cursor + 2 * 16
    assert all(math.isfinite(records(folder / "lamb")[step]["loss"]) for step in (7, 8))


def test_evaluation_and_export_are_unchanged(folder: Path) -> None:
    recorded = json.loads((folder / "run" / EVALUATION).read_text())
    run_command(folder, "evaluate", "run")
    evaluated = json.loads((folder / "run" / EVALUATION).read_text())
    assert evaluated == pytest.approx(recorded, rel=0.01)
    run_command(folder, "export", "run", "--output", "again")
    before, after = (load_file(folder / name / "model.safetensors") for name in ("exported", "again"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize("source", ["run", "exported"])
def test_training_starts_from_earlier_weights(folder: Path, source: str) -> None:
    changes = (f"train.initialise_from={source}", "train.steps=2", "optimizer.warmup_steps=1")
    run_command(folder, "train", "run.toml", "name=new", "cluster.ranks_per_node=1", *changes)
    first = records(folder / "new")[1]
    assert first["mlm_loss"] < records(folder / "run")[1]["mlm_loss"]


def test_a_run_with_values_that_are_out_of_range_today_can_still_be_used(folder: Path) -> None:
    """It cannot be trained further: the line that is refused names the value."""
    path = folder / "run" / RECIPE
    text = path.read_text()
    for old, new in (
        ("eps = 1e-06", "eps = 1e-300"),
        ("collective_timeout_s = 600", "collective_timeout_s = 1000000000"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    assert "eps = 1e-300" in path.read_text()
    for arguments in (["export", "run", "-o", "out"], ["status", "run"], ["fill", "run", "the [MASK]"]):
        ended = bertrain(folder, *arguments)
        assert ended.returncode == 0, ended.stderr
        assert "Kept, since it made this run" in ended.stderr
    ended = bertrain(folder, "train", "run/recipe.toml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "`optimizer.eps` = 1e-300" in ended.stderr
