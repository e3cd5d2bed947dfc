from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.distributed.slurm_cluster import INSTALL, PATIENCE_S, SlurmCluster, job_script, missing_program
from tests.processes import wait_until

pytestmark = pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}")
BODY = ["srun --ntasks=2 bash -c 'echo task $SLURM_PROCID on $SLURMD_NODENAME'", "sleep 300"]


def test_two_nodes_run_a_job_and_leave_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with SlurmCluster(2) as cluster:
        options = ("--nodes=2", "--ntasks-per-node=1", f"--output={output}")
        cluster.submit(job_script(tmp_path / "job.sh", BODY, *options))
        wait_until(lambda: output.exists() and output.read_text().count("task") == 2, PATIENCE_S, "both tasks")
        assert sorted(output.read_text().splitlines()) == ["task 0 on n1", "task 1 on n2"]
        cluster.cancel_all()
    assert_nothing_is_left(cluster)


@pytest.mark.slow
def test_killed_node_ends_its_tasks_and_requeues_the_job(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with SlurmCluster(2) as cluster:
        options = ("--nodes=2", "--ntasks-per-node=1", "--requeue", f"--output={output}")
        job = cluster.submit(job_script(tmp_path / "job.sh", BODY, *options))
        wait_until(lambda: output.exists() and output.read_text().count("task") == 2, PATIENCE_S, "both tasks")
        cluster.kill_node("n2")
        wait_until(lambda: cluster.field(job, "Restarts") == "1", PATIENCE_S, "the job to be requeued")
    assert_nothing_is_left(cluster)


def assert_nothing_is_left(cluster: SlurmCluster) -> None:
    time.sleep(0.2)
    assert not cluster.folder.exists()
    running = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in running if str(cluster.folder) in line]
    assert not [line for line in running if "slurmstepd" in line]
