"""Faults of nodes, links, step daemons and users in jobs of a real Slurm, with a stand-in for the model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launch.cluster import batch_script, slurm, stop_run
from launch.display.status import read_status
from launch.ranks import starts
from pretrain.checkpoint import newest_start
from tests.distributed import slurm_network
from tests.distributed.slurm_cluster import INSTALL, PATIENCE_S, SlurmCluster, missing_program
from tests.distributed.slurm_network import NetworkedCluster
from tests.distributed.test_slurm import STAND_IN, log_of, make_run, steps_of, wait_for_step
from tests.processes import started_with, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}"),
]
SHORT_LIMIT = "cluster.collective_timeout_s=10"
PYTHON = """\
#!/bin/bash
# Python, except on the nodes that are named in the file "bad".
grep -qx "$SLURMD_NODENAME" "{folder}/bad" && exit 127
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster(4) as running:
        yield running


@pytest.fixture
def cluster(shared_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    use(shared_cluster, monkeypatch)
    yield shared_cluster
    shared_cluster.cancel_all()


def use(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this cluster the one that `launch.cluster.slurm` finds."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))


def submit(run: Path) -> str:
    return slurm.submit_script(run / batch_script.TRAIN.script)


def finish(cluster: SlurmCluster, job: str, run: Path) -> None:
    assert cluster.wait(job) == "COMPLETED", log_of(run)


def records_of(run: Path) -> list[tuple[int, int]]:
    """The start and step of each record."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(one["start"], one["step"]) for one in map(json.loads, lines)]


def nodes_of(run: Path) -> list[list[str]]:
    return [start.nodes for start in starts.read_starts(run)]


@pytest.mark.parametrize("bad", [["n1"], ["n2"], ["n1", "n2"], ["n1", "n3"]])
def test_only_nodes_that_cannot_start_python_are_left(cluster: SlurmCluster, tmp_path: Path, bad: list[str]) -> None:
    """The first node of the job, its last, and two after each other, so that exclusions must add up."""
    python = tmp_path / "python"
    python.write_text(PYTHON.format(folder=tmp_path, python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "bad").write_text("\n".join(bad) + "\n")
    run = make_run(tmp_path, 6, 0.05, f"cluster.python={json.dumps(str(python))}")
    job = submit(run)
    finish(cluster, job, run)
    assert not set(nodes_of(run)[-1]) & set(bad)
    blamed = [verdict.without_node for start in starts.read_starts(run) if (verdict := verdict_of(run, start.number))]
    assert [node for node in blamed if node] == bad
    assert steps_of(run) == list(range(1, 7))


def verdict_of(run: Path, number: int) -> starts.Verdict | None:
    return starts.read_verdict(run, number)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('python="/none/python"', "bash: line 1: /none/python: No such file or directory. Correct cluster.python."),
        ('container=["/none/engine", "exec"]', "/none/engine: No such file or directory. Correct cluster.container."),
        ('container=["{folder}/engine", "bert.sif"]', "could not open image bert.sif. Correct cluster.container."),
    ],
)
def test_what_is_missing_on_all_nodes_ends_the_job_at_once(
    cluster: SlurmCluster, tmp_path: Path, setting: str, said: str
) -> None:
    (engine := tmp_path / "engine").write_text("#!/bin/sh\necho 'FATAL: could not open image '$1 >&2; exit 255\n")
    engine.chmod(0o755)
    run = make_run(tmp_path, 6, 0.05, f"cluster.{setting.format(folder=tmp_path)}")
    job = submit(run)
    assert cluster.wait(job) == "FAILED", log_of(run)
    assert cluster.field(job, "ExitCode") == "2:0"
    assert newest_start(run) == 1
    status = read_status(run, [])
    assert status.state == "failed"
    assert "no node can run Python: " in status.detail
    assert status.detail.endswith(said)
    assert said in log_of(run)


@pytest.mark.parametrize("nodes", [1, 2])
def test_status_says_that_no_node_can_start_python(cluster: SlurmCluster, tmp_path: Path, nodes: int) -> None:
    """Without a reason, or with one node, which could be another one's fault: each restart has other nodes."""
    (python := tmp_path / "python").write_text("#!/bin/sh\nexit 127\n")
    python.chmod(0o755)
    name = python if nodes == 2 else "/none/python"
    settings = (f"cluster.python={json.dumps(str(name))}", "cluster.max_restarts=1", f"cluster.nodes={nodes}")
    run = make_run(tmp_path, 6, 0.05, *settings)
    job = submit(run)
    assert cluster.wait(job) == "FAILED", log_of(run)
    status = read_status(run, [])
    assert status.state == "failed"
    assert "cannot run Python (exit code 127)" in status.detail
    assert cluster.field(job, "ExitCode") == "2:0"
    assert newest_start(run) == 2


def test_an_error_of_one_node_leaves_that_node(cluster: SlurmCluster, tmp_path: Path) -> None:
    """E.g. its scratch disk is full, or torch sees no GPU: exit code 2 of one rank."""
    run = make_run(tmp_path, 6, 0.05)
    (run / "fault").write_text("2 1 2")
    job = submit(run)
    finish(cluster, job, run)
    assert nodes_of(run)[0] == ["n1", "n2"]
    assert len(nodes_of(run)) == 2
    assert "n2" not in nodes_of(run)[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk")
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_full_scratch_disk_on_one_node_stops_nothing(cluster: SlurmCluster, tmp_path: Path, node: str) -> None:
    """A real disk without room in place of one node's TMPDIR: Python takes another temporary folder."""
    (scratch := tmp_path / "scratch").mkdir()
    (tmp_path / "bad").touch()
    python = tmp_path / "python"
    full = f'[ "$SLURMD_NODENAME" != {node} ] || export TMPDIR={scratch}'
    python.write_text(PYTHON.format(folder=tmp_path, python=sys.executable).replace("exec ", f"{full}\nexec "))
    python.chmod(0o755)
    run = make_run(tmp_path, 6, 0.05, f"cluster.python={json.dumps(str(python))}")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", scratch], check=True)
    try:
        with pytest.raises(OSError, match="No space left on device"):
            (scratch / "file").touch()
        finish(cluster, submit(run), run)
    finally:
        subprocess.run(["umount", scratch], check=True)
    assert nodes_of(run) == [["n1", "n2"]]
    assert steps_of(run) == list(range(1, 7))


SPARE = "cluster.spare_nodes=1"


def test_a_spare_node_replaces_a_failed_one_without_a_requeue(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 8, 0.05, SPARE)
    (run / "fault").write_text("4 1 raise")
    job = submit(run)
    finish(cluster, job, run)
    assert nodes_of(run) == [["n1", "n2"], ["n1", "n3"]]
    assert cluster.field(job, "Restarts") == "0"
    assert [start.is_first for start in starts.read_starts(run)] == [True, False]
    assert steps_of(run)[-8:] == list(range(1, 9))


def test_a_job_without_another_spare_node_is_requeued_without_all_that_failed(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON.format(folder=tmp_path, python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "bad").write_text("n2\nn3\n")
    run = make_run(tmp_path, 6, 0.05, f"cluster.python={json.dumps(str(python))}", SPARE)
    job = submit(run)
    finish(cluster, job, run)
    assert nodes_of(run) == [["n1", "n2"], ["n1", "n3"], ["n1", "n4"]]
    assert cluster.field(job, "Restarts") == "1"


@pytest.mark.parametrize("dead", ["n1", "n2"])
def test_a_job_with_spare_nodes_survives_a_dead_one(cluster: SlurmCluster, tmp_path: Path, dead: str) -> None:
    """The first node also runs the job's script. Slurm requeues the job, also if a spare node has been taken."""
    run = make_run(tmp_path, 60, 0.2, SPARE, SHORT_LIMIT)
    job = submit(run)
    wait_for_step(run, 3)
    cluster.kill_node(dead)
    finish(cluster, job, run)
    assert dead not in nodes_of(run)[-1]
    assert_no_interleaving(run)
    assert steps_of(run)[-1] == 60
    cluster.start_node(dead)
    wait_until(lambda: cluster.run("sinfo", "-h", "-n", dead, "-o", "%T") == "idle", PATIENCE_S, dead)


def test_quick_preemptions_do_not_count(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 60, 0.5, "cluster.max_restarts=2", "checkpoint.every_steps=1000")
    job = submit(run)
    script = tmp_path / "urgent.sh"
    script.write_text("#!/bin/bash\nsleep 1\n")
    for number in range(1, 5):
        wait_until(lambda n=number: newest_start(run) >= n, PATIENCE_S, f"start {number}")  # type: ignore[misc]
        urgent = cluster.submit(script, "--partition=urgent", "--nodes=4", "--exclusive", "--output=/dev/null")
        cluster.wait(urgent)
    finish(cluster, job, run)
    assert newest_start(run) >= 5
    assert steps_of(run)[-1] == 60


def test_a_killed_step_daemon_does_not_hold_the_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 60, 0.2, SHORT_LIMIT)
    job = submit(run)
    wait_for_step(run, 2)
    daemon_of(cluster, "n2").kill()
    finish(cluster, job, run)
    assert steps_of(run)[-1] == 60
    assert newest_start(run) == 2


def daemon_of(cluster: SlurmCluster, node: str) -> psutil.Process:
    """The slurmstepd of a node's ranks."""
    wanted = (f"SLURM_CONF={cluster.env['SLURM_CONF']}", f"SLURMD_NODENAME={node}")
    for process in started_with(*wanted):
        parent = process.parent()
        if "cluster_rank" in " ".join(process.cmdline()) and parent and parent.name() == "slurmstepd":
            return parent
    raise AssertionError(f"no ranks on {node}")


def test_a_stopped_supervisor_does_not_hold_the_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 60, 0.2, SHORT_LIMIT)
    job = submit(run)
    wait_for_step(run, 2)
    for child in daemon_of(cluster, "n2").children():
        child.suspend()
    finish(cluster, job, run)
    assert steps_of(run)[-1] == 60
    assert "n2" not in nodes_of(run)[-1]


def test_nothing_follows_a_job_whose_script_was_cut(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Bash runs a script without commands, and Slurm reports its job as completed."""
    first, second = (
        make_run(tmp_path, 3, 0.01, f"name={name}", "train.steps=3", "optimizer.warmup_steps=1")
        for name in ("first", "second")
    )
    script = first / batch_script.TRAIN.script
    text = script.read_text()
    script.write_text(text[: text.index("#SBATCH --export")])
    codes = {}
    for whole in (False, True):
        job = submit(first)
        after = slurm.submit_script(second / batch_script.TRAIN.script, [job], [first])
        (running,) = slurm.jobs_of(second, slurm.queued_jobs())
        assert running.id == after
        assert cluster.wait(job) == "COMPLETED"
        codes[whole] = cluster.wait(after)
        if not whole:
            assert "is cut, and its jobs start nothing" in read_status(first, []).detail
            assert f"{first}: the run that this job follows is not finished" in log_of(second)
            assert starts.read_starts(second) == []
            script.write_text(text)
    assert codes == {False: "FAILED", True: "COMPLETED"}, log_of(second)
    assert steps_of(second) == [1, 2, 3]


def test_a_second_job_in_the_folder_supersedes_the_first(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 60, 0.2)
    first = submit(run)
    wait_for_step(run, 3)
    second = submit(run)
    assert cluster.wait(first) == "FAILED", log_of(run)
    finish(cluster, second, run)
    assert cluster.field(first, "Restarts") == "0"
    verdict = starts.read_verdict(run, 1)
    assert verdict is not None
    assert verdict.reason.startswith("superseded by start 2")
    assert_no_interleaving(run)


def assert_no_interleaving(run: Path) -> None:
    """Records of an earlier start never follow those of a later one."""
    numbers = [number for number, _ in records_of(run)]
    assert numbers == sorted(numbers)


def test_ranks_that_outlive_their_slurmd_are_superseded(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Slurm requeues the job while the first start continues, unseen, on the node whose slurmd died."""
    run = make_run(tmp_path, 400, 0.2)
    job = submit(run)
    wait_for_step(run, 3)
    slurmd = cluster.daemons.pop("n1")
    os.kill(slurmd.pid, signal.SIGKILL)
    slurmd.wait(PATIENCE_S)
    wait_until(lambda: newest_start(run) == 2, PATIENCE_S, f"the second start in {log_of(run)}")
    wait_until(lambda: 2 in dict(records_of(run)), PATIENCE_S, "a step of the second start")
    time.sleep(3)
    assert_no_interleaving(run)
    stop_run(run)
    cluster.wait(job)
    cluster.start_node("n1")
    wait_until(lambda: cluster.run("sinfo", "-h", "-n", "n1", "-o", "%T") == "idle", PATIENCE_S, "n1")


def test_a_stop_that_is_quicker_than_the_job_is_not_lost(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 400, 0.2, 'cluster.setup=["sleep 2"]')
    job = submit(run)
    cluster.wait(job, "RUNNING")
    assert "asked job" in stop_run(run)
    assert cluster.wait(job) == "FAILED", log_of(run)
    assert steps_of(run) == []
    again = submit(run)  # an earlier request does not stop a later job
    wait_for_step(run, 2)
    stop_run(run)
    assert cluster.wait(again) == "FAILED"
    assert starts.newest_step(run) == steps_of(run)[-1] > 0


@pytest.mark.skipif(bool(slurm_network.why_not()), reason=slurm_network.why_not())
def test_a_cut_link_leaves_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both nodes continue, but one is unreachable: Slurm starts the job again without it."""
    with NetworkedCluster(3, kill_wait_s=5) as cluster:
        use(cluster, monkeypatch)
        run = make_run(tmp_path, 100, 0.2, SHORT_LIMIT)
        job = submit(run)
        wait_for_step(run, 3)
        cluster.cut("n1")
        finish(cluster, job, run)
        assert nodes_of(run)[-1] == ["n2", "n3"]
        assert_no_interleaving(run)
