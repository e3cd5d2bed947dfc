"""Ranks that a real MPI starts, with a stand-in for the model (see stand_in/)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from configs.recipe import load_recipe
from launch.cluster import mpi
from launch.ranks import run_folder, starts
from tests.distributed.slurm_cluster import INSTALL, PATIENCE_S, SlurmCluster, missing_program
from tests.processes import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("mpirun") is None,
    reason="no mpirun; install it with: apt-get install --no-install-recommends openmpi-bin",
)
STAND_IN = Path(__file__).parent / "stand_in"
PMIX = list(Path("/usr").glob("lib*/**/libpmix.so"))
RUN = "import sys; from pathlib import Path; from configs.recipe import load_recipe; from launch.cluster import mpi; "
RUN += "run = Path(sys.argv[1]); sys.exit(mpi.run_under_mpi(load_recipe(run), run))"


# Holds each rank between its record and its supervisor, until the test lets it go.
HOLD = """\
import sys, time
from pathlib import Path
if "launch.cluster.cluster_rank" in " ".join(sys.orig_argv):
    from launch.ranks import starts
    record = starts.record_begin
    def held(*arguments):
        record(*arguments)
        while not Path("{run}/released").exists():
            time.sleep(0.05)
    starts.record_begin = held
"""


def make_run(folder: Path, steps: int, step_s: float, *overrides: str) -> Path:
    settings = [f"runs={json.dumps(str(folder))}", "cluster.ranks_per_node=2", 'cluster.environment=["PYTHONPATH"]']
    with run_folder.open_run(load_recipe("demo", [*settings, *overrides])) as run:
        (run / "stand_in.json").write_text(json.dumps([steps, step_s]))
    return run


def start(run: Path, stderr: int | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(STAND_IN)}
    return subprocess.Popen([sys.executable, "-c", RUN, str(run)], env=environment, stderr=stderr)


def steps_of(run: Path) -> list[int]:
    file = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


def test_mpirun_starts_ranks_that_connect_and_restart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a; b 'c'", 5, 0.01)
    (run / "fault").write_text("3 1 kill")
    assert start(run).wait(PATIENCE_S) == 0
    assert [starts.read_verdict(run, number).requeue for number in (1, 2)] == [True, False]  # type: ignore[union-attr]
    assert steps_of(run)[-1] == 5
    assert "rank 1 of 2, local 1/2" in (run / "logs/rank_00001.log").read_text()


def test_a_stop_saves_on_all_ranks(tmp_path: Path) -> None:
    run = make_run(tmp_path, 400, 0.1)
    process = start(run)
    wait_until(lambda: 2 in steps_of(run), PATIENCE_S, "step 2")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 75
    assert starts.newest_step(run) == steps_of(run)[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_any_rank_has_begun_ends_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """mpirun forwards no signal to ranks that it has not started yet: the run used to train on."""
    waiting = f"touch {shlex.quote(str(tmp_path / 'waits'))}; while sleep 0.1; do :; done"
    run = make_run(tmp_path, 400, 0.1, f"cluster.setup={json.dumps([waiting])}")
    process = start(run, stderr=subprocess.PIPE)
    wait_until((tmp_path / "waits").exists, PATIENCE_S, "the lines of setup")
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 128 + number
    (only,) = starts.read_starts(run)
    verdict = starts.read_verdict(run, only.number)
    assert verdict is not None
    assert "ended from outside" in verdict.reason
    assert steps_of(run) == []


def test_a_stop_before_the_supervisors_exist_saves(tmp_path: Path) -> None:
    """All ranks have begun, but none has started its process yet: the signal used to be lost."""
    hold = tmp_path / "sitecustomize.py"
    hold.write_text(HOLD.format(run=tmp_path / "demo"))
    run = make_run(tmp_path, 400, 0.1)
    assert run == tmp_path / "demo"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{STAND_IN}"}
    process = subprocess.Popen([sys.executable, "-c", RUN, str(run)], env=environment)
    wait_until(lambda: len(starts.ranks_begun(run, 1)) == 2, PATIENCE_S, "both ranks")
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)  # for mpirun, which forwards it
    (run / "released").touch()
    assert process.wait(PATIENCE_S) == 75
    assert starts.newest_step(run) == steps_of(run)[-1] < 400


def test_ranks_that_outlive_a_killed_launcher_end_or_are_superseded(tmp_path: Path) -> None:
    """`submit --to mpi` dies by SIGKILL. What is left of its ranks writes nothing once the next one has begun."""
    run = make_run(tmp_path, 60, 0.1)
    first = start(run)
    wait_until(lambda: 3 in steps_of(run), PATIENCE_S, "step 3")
    ranks = [one for one in psutil.process_iter() if str(run) in _arguments(one) and "cluster_rank" in _arguments(one)]
    assert ranks
    first.kill()
    first.wait()
    assert start(run).wait(PATIENCE_S) == 0
    _, alive = psutil.wait_procs(ranks, timeout=PATIENCE_S)
    assert alive == []
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    numbers = [line["start"] for line in lines]
    assert numbers == sorted(numbers)
    assert lines[-1]["step"] == 60


def _arguments(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def test_listeners_on_x_display_ports_do_not_block_mpi(tmp_path: Path) -> None:
    for port in range(6000, 6010):  # displays :0 to :9; TensorBoard's is :6
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):  # it never replies
            run = make_run(tmp_path, 2, 0.01)
            assert start(run).wait(PATIENCE_S) == 0
            alone = "from launch.ranks.rank_address import mpi_address; print(mpi_address().world_size)"
            assert subprocess.check_output([sys.executable, "-c", alone], timeout=PATIENCE_S) == b"1\n"
            return
    pytest.skip("the ports of all displays are in use")


@pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}")
@pytest.mark.skipif(not PMIX, reason="no libpmix.so, which Slurm loads; install it with: apt-get install libpmix-dev")
def test_srun_with_pmix_starts_the_same_ranks(tmp_path: Path) -> None:
    run = make_run(tmp_path, 3, 0.01, "cluster.nodes=2", "cluster.ranks_per_node=1")
    argv = mpi.pmix_rank_argv(load_recipe(run), run, 1)
    with SlurmCluster(2) as cluster:
        cluster.env["PYTHONPATH"] = str(STAND_IN)
        starts.begin_start(run, "by hand", is_first=True, nodes=cluster.nodes, ranks=2)
        cluster.run("srun", "--mpi=pmix", "--nodes=2", "--ntasks=2", *argv)
    assert [one.code for one in starts.read_ends(run, 1)] == [0, 0]
    assert steps_of(run) == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "said", "key"),
    [
        ('cluster.container=["/none/apptainer", "exec"]', "Executable: /none/apptainer", 1),
        ('cluster.container=["{folder}/engine"]', "FATAL: could not open image bert.sif", 1),
        ('cluster.python="/none/python"', "Executable: /none/python", 2),
        ('cluster.python="{folder}/python"', "No module named 'launch'", 2),
        ('cluster.setup=["module load none"]', "bertrain: cluster.setup failed: module load none", 0),
    ],
)  # fmt: skip
def test_ranks_that_cannot_begin_end_the_run_at_once(tmp_path: Path, settings: str, said: str, key: int) -> None:
    write_program(tmp_path / "engine", "echo 'FATAL: could not open image bert.sif' >&2; exit 255")
    write_program(tmp_path / "python", "exec /usr/bin/python3 -I -c 'import launch'")
    run = make_run(tmp_path, 5, 0.01, settings.format(folder=tmp_path))
    process = start(run, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    (only,) = starts.read_starts(run)
    verdict = starts.read_verdict(run, only.number)
    assert verdict is not None
    assert verdict.reason.startswith("error: mpirun: no rank begins: ")
    assert said in verdict.reason
    assert verdict.reason.endswith(f"Correct cluster.{['setup', 'container', 'python'][key]}.")
    assert f"bertrain: start 1: {verdict.reason}" in told.decode().splitlines()
    assert start(make_run(tmp_path / "corrected", 2, 0.01)).wait(PATIENCE_S) == 0


def write_program(file: Path, lines: str) -> None:
    file.write_text(f"#!/bin/sh\n{lines}\n")
    file.chmod(0o755)


def test_the_lines_of_setup_run_before_each_rank(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin/engine", 'echo "$WANTED" >>"$0".seen; exec "$@"')
    setup = [f"PATH={tmp_path / 'bin'}:$PATH", "export WANTED='a b'"]
    run = make_run(tmp_path, 2, 0.01, f"cluster.setup={json.dumps(setup)}", 'cluster.container=["engine"]')
    assert start(run).wait(PATIENCE_S) == 0
    assert (tmp_path / "bin/engine.seen").read_text() == "a b\n" * 2


def test_an_error_of_one_rank_in_the_input_ends_the_run_at_once(tmp_path: Path) -> None:
    """A restart would have the same hosts."""
    run = make_run(tmp_path, 5, 0.01)
    (run / "fault").write_text("2 1 2")
    assert start(run).wait(PATIENCE_S) == 2
    assert len(starts.read_starts(run)) == 1


def test_ranks_without_mpi4py_end_the_run_at_once_with_the_fix(tmp_path: Path) -> None:
    """The Python of the nodes is another one: the command cannot look whether it has mpi4py."""
    (tmp_path / "mpi4py").mkdir()
    missing = "raise ModuleNotFoundError(\"No module named 'mpi4py'\", name='mpi4py')\n"
    (tmp_path / "mpi4py/__init__.py").write_text(missing)
    run = make_run(tmp_path, 5, 0.01, f"cluster.python={json.dumps(sys.executable)}")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{STAND_IN}"}
    process = subprocess.run([sys.executable, "-c", RUN, str(run)], env=environment, timeout=PATIENCE_S, check=False)
    assert process.returncode == 2
    (only,) = starts.read_starts(run)
    verdict = starts.read_verdict(run, only.number)
    assert verdict is not None
    assert "mpi4py is not installed" in verdict.reason
    assert "pip install" in verdict.reason
