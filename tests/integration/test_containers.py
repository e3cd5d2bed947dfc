"""A container with half a core and 2 GiB: real control groups, and what doctor, prepare and train take for theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.small import command, environment, write_small

GROUPS = Path("/sys/fs/cgroup")
NAME = f"bertrain-test-{os.getpid()}"
HALF_A_CORE, MEMORY = "50000", str(2 << 30)
VERSION_1 = {"cpu/{}/cpu.cfs_quota_us": HALF_A_CORE, "memory/{}/memory.limit_in_bytes": MEMORY}
VERSION_2 = {"{}/cpu.max": f"{HALF_A_CORE} 100000", "{}/memory.max": MEMORY}
# What a rank and a preparation ask for: the threads of the only rank, and the worker processes for 1 GB of text.
ASK = """
from configs.machine import threads_of_rank, usable_cores
from preprocessing.execution.stages import process_count
print(usable_cores(), threads_of_rank(1), process_count(0, 100, 1 << 40))
"""

pytestmark = pytest.mark.slow  # half a core is slow


@pytest.fixture(scope="module")
def members() -> Iterator[list[Path]]:
    """The files to which a process writes its number to enter the container."""
    settings = VERSION_2 if (GROUPS / "cgroup.controllers").exists() else VERSION_1
    files = {GROUPS / name.format(NAME): value for name, value in settings.items()}
    folders = {file.parent for file in files}
    try:
        for folder in folders:
            folder.mkdir()
        for file, value in files.items():
            file.write_text(value)
    except OSError as error:
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield [folder / "cgroup.procs" for folder in folders]
    for folder in folders:
        for _ in range(50):  # the kernel forgets ended processes a moment later
            with suppress(OSError):
                folder.rmdir()
            if not folder.exists():
                break
            time.sleep(0.1)


def contained(members: list[Path], folder: Path, argv: list[str]) -> str:
    """Run a program in the container, and return what it prints."""

    def enter() -> None:
        for file in members:
            file.write_text(str(os.getpid()))

    ended = subprocess.run(
        argv, cwd=folder, env=environment(), preexec_fn=enter, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_quota_of_half_a_core_counts_as_one(members: list[Path], tmp_path: Path) -> None:
    assert contained(members, tmp_path, [sys.executable, "-c", ASK]).split() == ["1", "1", "1"]


def test_doctor_shows_what_the_container_grants(members: list[Path], tmp_path: Path) -> None:
    said = contained(members, tmp_path, list(command("doctor")))
    assert re.search(r"memory\W+2 GiB, 1 cores", said), said


def test_a_data_set_and_a_run_are_made_in_the_container(members: list[Path], tmp_path: Path) -> None:
    write_small(tmp_path, 100)
    settings = ["train.steps=2", "optimizer.warmup_steps=1", "cluster.ranks_per_node=1", "cluster.cpu_threads=0"]
    contained(members, tmp_path, list(command("prepare", "recipe.toml", "data.workers=0")))
    contained(members, tmp_path, list(command("train", "recipe.toml", *settings)))
    assert len((tmp_path / "runs/small/metrics.jsonl").read_text().splitlines()) >= 2
