from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.machine.locks import REFUSALS
from configs.recipe import load_recipe
from configs.schema import Recipe
from launch.ranks.run_folder import (
    await_recipe,
    begin_run,
    differences,
    find_run,
    has_locks,
    open_run,
    process_training_in,
)
from launch.ranks.starts import read_starts
from pretrain.checkpoint import Ownership, Superseded, TrainingState, newest_start
from pretrain.checkpoint.state import state_text


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FIXED = (
    "train.steps=1000",
    "train.seed=42",
    "train.global_batch_size=128",
    "model.hidden_size=192",
    "model.num_attention_heads=6",
    "optimizer.warmup_steps=50",
    "data.vocabulary.size=4096",
)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("demo", [*FIXED, *overrides])


def open_and_save(*overrides: str, resume: str = "auto") -> Path:
    """Open the run, as `train` does, and leave a checkpoint in it."""
    run = Path("runs") / recipe(*overrides).name
    with begin_run(recipe(*overrides), resume, ranks=1):
        (run / "checkpoints" / "step_00000005").mkdir(parents=True, exist_ok=True)
    return run


def refusal(overrides: Sequence[str] = (), resume: str = "auto") -> str:
    with pytest.raises(UserError) as caught:
        open_and_save(*overrides, resume=resume)
    return str(caught.value)


def test_the_folder_holds_the_resolved_recipe_with_its_documentation() -> None:
    run = open_and_save("train.seed=7")
    assert run == Path("runs/demo")
    text = (run / "recipe.toml").read_text()
    assert "# Seed of initial weights, data order and dropout." in text
    assert find_run(run) == load_recipe(run).model_copy()
    assert find_run(run).train.seed == 7


def train_on(*overrides: str) -> Path:
    """Open the run with the recipe in its folder, as `bertrain train RUN` does."""
    with begin_run(load_recipe("runs/demo", overrides), "auto", ranks=1):
        return Path("runs/demo")


@pytest.mark.parametrize("lines", [0, 1, 20, -1])
def test_a_run_whose_recipe_is_cut_never_trains_on_with_defaults(lines: int) -> None:
    path = open_and_save("train.seed=7") / "recipe.toml"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:lines]))
    for read in (lambda: find_run(path.parent), train_on):
        with pytest.raises(UserError, match=r"not as bertrain wrote it.*remove its first and last lines"):
            read()


def test_an_edited_recipe_of_a_run_is_refused_until_its_seal_is_removed() -> None:
    path = open_and_save() / "recipe.toml"
    edited = path.read_text().replace("steps = 1000\n", "steps = 2000\n", 1)
    path.write_text(edited)
    with pytest.raises(UserError, match="not as bertrain wrote it"):
        train_on()
    path.write_text("".join(edited.splitlines(keepends=True)[1:-1]))
    assert find_run(train_on()).train.steps == 2000
    assert find_run(train_on("train.steps=3000")).train.steps == 3000


def test_a_damaged_recipe_is_replaced_by_the_one_that_started_the_run() -> None:
    path = open_and_save("train.seed=7") / "recipe.toml"
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(UserError, match="no checkpoint of the run states its recipe"):
        open_and_save("train.seed=7")
    state = TrainingState(step=5, cursor=0, recipe=recipe("train.seed=7").model_dump(mode="json"))
    (path.parent / "checkpoints" / "step_00000005" / "state.json").write_text(state_text(state))
    assert "train.seed 7 -> 8" in refusal(["train.seed=8"])
    open_and_save("train.seed=7")
    assert path.read_text() == whole


def test_the_data_set_is_found_from_any_working_directory(tmp_path: Path) -> None:
    assert find_run(open_and_save()).data.dataset == str(tmp_path / "datasets/demo")
    assert find_run(open_and_save("name=b", "data.dataset=gs://bucket/set")).data.dataset == "gs://bucket/set"


def test_the_same_recipe_resumes() -> None:
    assert open_and_save() == open_and_save()


@pytest.mark.parametrize(
    "change",
    [
        "cluster.ranks_per_node=1",
        "checkpoint.every_steps=7",
        "optimizer.decay_steps=20",
        "train.steps=2000",
        "train.budget_min=20.0",
        "train.zero_stage=3",
        "train.micro_batch_size=8",
        "optimizer.learning_rate=0.0003",  # the fix for steps that are lost
        "optimizer.gradient_clipping=0.5",
        "train.log_every_steps=1",
        "train.evaluate_every_steps=5",
        "train.evaluate_rows=5",
        "data.dataset=elsewhere",
        "data.workers=3",
    ],
)
def test_free_settings_can_change(change: str) -> None:
    run = open_and_save()
    open_and_save(change)
    key, _, value = change.partition("=")
    section, name = key.split(".")
    assert str(getattr(getattr(find_run(run), section), name)).endswith(value)


def test_another_recipe_is_refused_with_the_keys_that_differ() -> None:
    run = open_and_save()
    before = (run / "recipe.toml").read_bytes()
    line = refusal(["train.seed=43", "model.hidden_size=240", "train.zero_stage=1"])
    assert line.startswith(
        "runs/demo: this is a run of another recipe: model.hidden_size 192 -> 240, train.seed 42 -> 43. "
    )
    assert "name=" in line
    assert (run / "recipe.toml").read_bytes() == before


def test_settings_are_guarded_by_default() -> None:
    """A new field is guarded unless it is added to `FREE`."""
    assert differences(recipe(), recipe("optimizer.warmup_steps=3", "train.global_batch_size=3")) == {
        "optimizer.warmup_steps": (50, 3),
        "train.global_batch_size": (128, 3),
    }


def test_a_run_without_checkpoint_accepts_any_recipe() -> None:
    with open_run(recipe()) as run:
        pass
    open_and_save("train.seed=43", resume="never")
    assert find_run(run).train.seed == 43


def test_never_moves_checkpoints_aside() -> None:
    run = open_and_save()
    learned = [path.name for path in (run / "checkpoints").iterdir()]
    with begin_run(recipe("train.seed=43"), "never", ranks=1):
        assert not (run / "checkpoints").exists()  # nor would a later start find it, if this one were killed now
    assert [path.name for path in (run / "set_aside/01/checkpoints").iterdir()] == learned


def test_a_missing_checkpoint_is_refused() -> None:
    assert refusal(resume="runs/none").startswith("runs/none: no such checkpoint. ")
    assert not Path("runs").exists()
    run = open_and_save()
    open_and_save(resume=str(run / "checkpoints/step_00000005"))


def test_a_folder_that_is_not_a_run_is_refused() -> None:
    Path("runs/demo").mkdir(parents=True)
    (Path("runs/demo") / "thesis.tex").touch()
    assert refusal().startswith("runs/demo: the folder is not a run. ")
    assert os.listdir("runs/demo") == ["thesis.tex"]
    Path("runs/file").touch()
    assert "the folder is not a run" in refusal(["name=file"])


def test_an_unwritable_place_is_refused() -> None:
    Path("file").touch()
    assert "cannot write" in refusal(["runs=file"])
    assert "cannot write" in refusal(["runs=/proc/none"])


def test_a_missing_run_is_refused() -> None:
    with pytest.raises(UserError, match="no such run"):
        find_run(Path("runs/none"))


def test_two_commands_do_not_train_in_one_folder() -> None:
    with open_run(recipe()) as run:
        before = (run / "recipe.toml").read_bytes()
        line = refusal(["train.seed=43"])
        assert f"another command trains here: process {os.getpid()} on" in line
        assert (run / "recipe.toml").read_bytes() == before
    open_and_save()


def test_a_planted_lock_changes_no_other_file(tmp_path: Path) -> None:
    run, other = open_and_save(), tmp_path / "other"
    other.write_text("precious")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(other)
    assert refusal() == "runs/demo/.lock: cannot write. A link is in the way: remove it."
    assert other.read_text() == "precious"
    (run / ".lock").unlink()
    os.mkfifo(run / ".lock")
    assert process_training_in(run) is None


HOLDER = """
import os, sys, time
from configs.recipe import load_recipe
from launch.ranks.run_folder import open_run
with open_run(load_recipe("demo"), for_child=sys.argv[1] == "execute"):
    print("held", flush=True)
    if sys.argv[1] == "execute":
        os.execv(sys.executable, [sys.executable, "-c", "print('executed', flush=True); import time; time.sleep(600)"])
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["stay", "execute"])
def test_the_lock_is_held_as_long_as_its_process(how: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, how], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        for _ in range(2 if how == "execute" else 1):
            holder.stdout.readline()
        assert "another command trains here" in refusal()
    finally:
        holder.kill()
        holder.communicate()
    open_and_save()


def test_each_start_takes_the_next_number_and_a_refused_one_takes_none() -> None:
    run = open_and_save()
    open_and_save()
    refusal(["train.seed=43"])
    assert newest_start(run) == 2
    assert [start.number for start in read_starts(run)] == [1, 2]
    assert Ownership(run, 1).superseded_by() == 2


@pytest.mark.parametrize("code", REFUSALS)
def test_a_file_system_without_locks_is_no_obstacle(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with begin_run(recipe(), "auto", ranks=1) as first:
        assert process_training_in(Path("runs/demo")) is None
        assert not has_locks(Path("runs/demo"))
        with begin_run(recipe(), "auto", ranks=1) as second:  # fencing takes the lock's place
            assert (first.number, second.number) == (1, 2)
            with pytest.raises(Superseded, match="superseded by start 2"):
                Ownership(Path("runs/demo"), first.number).check()


def test_other_ranks_wait_for_rank_0() -> None:
    def first_rank() -> None:
        time.sleep(0.3)
        open_and_save()

    thread = threading.Thread(target=first_rank)
    thread.start()
    assert await_recipe(recipe(), patience_s=20) == Path("runs/demo")
    thread.join()
    with pytest.raises(UserError, match="rank 0 has not written this recipe"):
        await_recipe(recipe("train.seed=1"), patience_s=0.2)
