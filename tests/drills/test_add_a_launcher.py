"""launch/docs/add_a_launcher.md, done: ssh as a launcher, and two ranks that train through it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.drills.drill import Copy, Edit
from tests.integration.test_earlier_versions import FIXTURES, records

pytestmark = pytest.mark.slow

LAUNCHERS = "launch/cluster/launchers.py"
FUNCTIONS = """
def _ssh_argvs(recipe: Recipe, run: Path) -> Iterable[Sequence[str]]:
    from launch.cluster import ssh

    return ssh.ssh_argvs(recipe, run)


def _train_over_ssh(recipe: Recipe) -> int:
    from launch.cluster import ssh

    return ssh.train_over_ssh(recipe)


LAUNCHERS = {
    "ssh": Launcher(_ssh_argvs, _train_over_ssh),"""
EDITS = [Edit(LAUNCHERS, "\nLAUNCHERS = {", FUNCTIONS)]

# Stands for the real one: runs the command here, whatever the host.
SSH = '#!/bin/sh\necho "$2" >>hosts\nexec sh -c "$3"\n'


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_ssh_as_a_launcher(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", {"launch/cluster/ssh.py": Path(__file__).with_name("ssh.py")}, EDITS)
    folder = Path(shutil.copytree(FIXTURES / "v0_1", tmp_path / "v0_1"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    changes = ['cluster.hosts=["localhost", "127.0.0.1"]', "cluster.ranks_per_node=1", "train.steps=9"]
    submit = ["-m", "launch.cli", "submit", "run.toml", *changes, "--to", "ssh"]

    planned = copy.python(*submit, "--dry-run", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    assert [line.split()[:3] for line in planned.stdout.splitlines()] == [
        ["ssh", "-tt", "localhost"],
        ["ssh", "-tt", "127.0.0.1"],
    ]

    search = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ended = copy.python(*submit, cwd=folder, PATH=search, MASTER_PORT=str(free_port()))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted((folder / "hosts").read_text().split()) == ["127.0.0.1", "localhost"]
    assert list(records(folder / "run")) == list(range(1, 10))
