from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from launch.display.tensorboard import command, named
from launch.ranks import first_free_port
from tests.processes import started_with, wait_until


def make_run(run: Path) -> None:
    (run / "tb").mkdir(parents=True)
    write_recipe(load_recipe("demo"), run / "recipe.toml")
    writer = EventFileWriter(str(run / "tb"))
    value = Summary.Value(tag="loss/total", simple_value=1.0)
    writer.add_event(Event(step=1, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()


def scalars(port: int) -> dict[str, object]:
    """Wait until TensorBoard serves scalars, and return them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/data/plugin/scalars/tags", timeout=5) as answer:
                runs: dict[str, object] = json.load(answer)
            if any(runs.values()):
                return runs
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    return {}


def test_tensorboard_serves_the_given_runs_until_ctrl_c(tmp_path: Path) -> None:
    odd = tmp_path / "runs" / "a, b:c"
    for run in (odd, tmp_path / "runs" / "plain", tmp_path / "runs" / "not-asked-for"):
        make_run(run)
    arguments = [
        "tensorboard",
        str(odd),
        str(tmp_path / "runs/plain"),
        "--port",
        str(first_free_port(range(20_000, 20_100), fix="")),
    ]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "launch.cli", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = re.fullmatch(r"TensorBoard: http://localhost:(\d+) .*\n", process.stdout.readline())
        assert said
        port = said[1]
        assert f"ssh -N -L {port}:localhost:{port} " in process.stdout.readline()
        assert set(scalars(int(port))) == {"a, b:c", "plain"}
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    assert process.wait(60) == 0


def test_tensorboard_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    arguments = ["tensorboard", str(tmp_path / "run"), "--port", str(first_free_port(range(20_000, 20_100), fix=""))]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "launch.cli", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(started_with(f"TMPDIR={tmp_path}")) >= 2, 30, "TensorBoard")
    process.kill()
    process.wait()
    wait_until(lambda: not started_with(f"TMPDIR={tmp_path}"), 5, "TensorBoard's end")


def test_tensorboard_listens_on_localhost_only() -> None:
    argv = command(Path("/tmp/x"), 6006)  # noqa: S108 - never opened
    assert argv[argv.index("--host") + 1] == "localhost"
    assert "--bind_all" not in argv


def test_runs_of_the_same_name_get_different_names(tmp_path: Path) -> None:
    runs = [tmp_path / "a" / "demo", tmp_path / "b" / "demo", tmp_path / "b" / "other", tmp_path / "b" / "other"]
    names = named(runs)
    assert list(names.values()) == runs[:3]
    assert [name for name in names if name == "other"] == ["other"]
    assert all("/" not in name for name in names)


def test_a_port_in_use_is_skipped() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < first_free_port(range(port, port + 100), fix="") < port + 100
        with pytest.raises(UserError, match=f"none of the ports {port} to {port} is free. Give another."):
            first_free_port([port], fix="Give another")


@pytest.mark.parametrize("arguments", [["none"], ["none", "--port", "0"]])
def test_missing_runs_and_invalid_ports_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    refused = subprocess.run(
        [sys.executable, "-P", "-m", "launch.cli", "tensorboard", *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert refused.returncode == 2
