"""A run through the command line: without locks, going back, stopped from elsewhere, and without its launcher."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pretrain.checkpoint import newest_start
from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain, command, environment, start, write_small
from tests.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
REFUSES_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""
ONE_RANK = ("cluster.ranks_per_node=1", "train.micro_batch_size=8")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owner")
    write_small(folder)
    made = bertrain(folder, "prepare", "recipe.toml", "data.workers=1")
    assert made.returncode == 0, made.stderr
    return folder


def train(folder: Path, *arguments: str) -> str:
    done = bertrain(folder, "train", "recipe.toml", *arguments, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def steps_of(run: Path) -> list[int]:
    return [int(record["step"]) for record in read_metrics(run)]


def checkpoints_of(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "checkpoints").iterdir())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_every_command_works_without_locks(prepared: Path, tmp_path: Path, code: int) -> None:
    (tmp_path / "refuse.c").write_text(REFUSES_FLOCK)
    library = tmp_path / "refuse.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "refuse.c"], check=True)
    env = environment() | {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(code)}
    name = f"name=unlocked-{code}"

    def run(*arguments: str) -> tuple[int, str]:
        argv = command(*arguments)
        done = subprocess.run(argv, cwd=prepared, env=env, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    training = subprocess.Popen(
        command("train", "recipe.toml", name, "train.steps=100000"),
        cwd=prepared, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    folder = prepared / f"runs/unlocked-{code}"
    wait_until(lambda: len(steps_of(folder)) > 3, 120, "steps")
    assert run("status", str(folder))[0] == 0
    code_of_stop, said = run("stop", str(folder))
    assert code_of_stop == 0, said
    assert training.wait(120) == 75
    assert run("submit", "recipe.toml", "--to", "slurm", "--dry-run", name)[0] == 0
    if code == errno.ENOSYS:
        assert run("train", "recipe.toml", "--smoke", *ONE_RANK)[0] == 0


def test_going_back_sets_later_checkpoints_and_records_aside(prepared: Path) -> None:
    """Those kept for good among them, also when the recipe of now keeps fewer."""
    run = prepared / "runs/back"
    keeping = ("name=back", "checkpoint.every_steps=2", "checkpoint.keep=2", "checkpoint.keep_every_steps=4")
    train(prepared, *keeping)
    kept = ["step_00000004", "step_00000008", "step_00000010", "step_00000012"]
    assert checkpoints_of(run) == kept
    said = train(
        prepared, "name=back", "checkpoint.every_steps=2", "checkpoint.keep=1",
        "--resume", str(run / "checkpoints/step_00000004"),
    )  # fmt: skip
    assert "training goes back: the later checkpoints" in said
    assert "runs/back/set_aside/01" in said
    assert checkpoints_of(run / "set_aside/01") == kept[1:]
    assert steps_of(run / "set_aside/01") == steps_of(run) == list(range(1, 13))
    assert checkpoints_of(run) == ["step_00000004", "step_00000012"]


def test_resuming_from_another_run_sets_the_own_history_aside(prepared: Path) -> None:
    for name in ("own", "other"):
        train(prepared, f"name={name}", "checkpoint.every_steps=6")
    other = prepared / "runs/other"
    train(prepared, "name=own", "--resume", str(other / "checkpoints/step_00000006"))
    own = prepared / "runs/own"
    assert checkpoints_of(own / "set_aside/01") == ["step_00000006", "step_00000012"]
    assert checkpoints_of(other) == ["step_00000006", "step_00000012"]
    assert steps_of(own) == list(range(1, 13))


def test_returning_to_a_checkpoint_that_was_set_aside_restores_its_records(prepared: Path) -> None:
    """The records in between are of another learning rate."""
    run = prepared / "runs/return"
    train(prepared, "name=return")
    first = read_metrics(run)
    back = ("--resume", str(run / "checkpoints/step_00000005"))
    train(prepared, "name=return", "optimizer.learning_rate=1e-2", *back)
    second = read_metrics(run)
    train(prepared, "name=return", "--resume", str(run / "set_aside/01/checkpoints/step_00000010"))
    assert [one["loss"] for one in read_metrics(run)] == [one["loss"] for one in first]
    assert read_metrics(run / "set_aside/02") == second


def test_stop_signals_no_process_of_the_same_number(prepared: Path) -> None:
    """In another container, the number in the lock is another process's."""
    run = prepared / "runs/elsewhere"
    training = start(prepared, "train", "recipe.toml", "name=elsewhere", "train.steps=100000")
    wait_until(lambda: len(steps_of(run)) > 2, 120, "steps")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as bystander:
        lock = run / ".lock"
        lock.write_text(lock.read_text().replace(str(training.pid), str(bystander.pid)))
        assert bertrain(prepared, "stop", str(run)).returncode == 0
        assert training.wait(120) == 75
        assert bystander.poll() is None
        bystander.kill()


def test_the_ranks_of_torchrun_end_with_its_agent(prepared: Path) -> None:
    argv = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    argv += [
        str(Path(sys.executable).with_name("bertrain")),
        "train",
        "recipe.toml",
        "name=agent",
        "train.steps=100000",
    ]
    run = prepared / "runs/agent"
    agent = subprocess.Popen(argv, cwd=prepared, env=environment() | {"OMP_NUM_THREADS": "1"})
    wait_until(lambda: len(steps_of(run)) > 2, 120, "steps")
    ranks = psutil.Process(agent.pid).children(recursive=True)
    assert len(ranks) >= 2
    agent.kill()
    agent.wait()
    _, alive = psutil.wait_procs(ranks, timeout=120)
    assert alive == []
    assert checkpoints_of(run)[-1] == f"step_{steps_of(run)[-1]:08}"  # they saved
    assert newest_start(run) == 1


def test_a_second_command_takes_over_where_no_lock_is_seen(prepared: Path) -> None:
    """As on another machine, where the first one's lock is invisible."""
    run = prepared / "runs/two"
    first = start(prepared, "train", "recipe.toml", "name=two", "train.steps=100000", "checkpoint.every_steps=3")
    wait_until(lambda: len(steps_of(run)) > 4, 120, "steps")
    os.unlink(run / ".lock")
    train(prepared, "name=two", "train.steps=100000", "train.steps=30", "checkpoint.every_steps=3")
    out = first.communicate(timeout=60)[0]
    assert first.returncode == 1
    assert "superseded by start 2" in out
    assert "Traceback" not in out
    assert steps_of(run) == list(range(1, 31)) or steps_of(run)[-1] >= 30
    assert steps_of(run) == sorted(set(steps_of(run)))
