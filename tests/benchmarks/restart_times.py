"""How soon a job of a real Slurm notices a failure and trains again: the test cluster, and a stand-in for the model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.ranks import read_verdict
from tests.distributed.slurm_cluster import PATIENCE_S, SlurmCluster, missing_program
from tests.distributed.test_slurm import STAND_IN, make_run, steps_of
from tests.distributed.test_slurm_faults import SHORT_LIMIT, SPARE, daemon_of, nodes_of, records_of, submit
from tests.processes import wait_until

NODES, STEPS, STEP_S, FAULT_STEP = 4, 500, 0.1, 20


def restart_times(folder: Path) -> dict[str, dict[str, float]]:
    """Return, for each kind of failure, the seconds until its start's verdict, and until the next start's first step.

    Empty if Slurm is not installed.
    """
    if missing_program():
        return {}
    with SlurmCluster(NODES) as cluster, _commands_of(cluster):
        return {
            "a rank fails": _times(cluster, folder / "requeued", _fail),
            "a rank fails, with a spare node": _times(cluster, folder / "spare", _fail, SPARE),
            f"a node hangs, {SHORT_LIMIT}": _times(cluster, folder / "hang", _hang, SHORT_LIMIT),
        }


@contextmanager
def _commands_of(cluster: SlurmCluster) -> Iterator[None]:
    """Make this cluster the one that `launch.cluster.slurm` finds, and the stand-in its trainer."""
    before = dict(os.environ)
    os.environ.update({name: cluster.env[name] for name in ("SLURM_CONF", "PATH")} | {"PYTHONPATH": str(STAND_IN)})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _times(
    cluster: SlurmCluster, folder: Path, fail: Callable[[SlurmCluster, Path], None], *settings: str
) -> dict[str, float]:
    run = make_run(folder, STEPS, STEP_S, *settings)
    submit(run)
    fail(cluster, run)
    failed = time.monotonic()
    wait_until(lambda: read_verdict(run, 1), PATIENCE_S, "the verdict")
    noticed = time.monotonic()
    wait_until(lambda: records_of(run)[-1][0] == 2, PATIENCE_S, "the next start's first step")
    trains = time.monotonic()
    cluster.cancel_all()
    return {"notice_s": round(noticed - failed, 1), "restart_s": round(trains - failed, 1)}


def _fail(_: SlurmCluster, run: Path) -> None:
    """Let a rank raise, and return when it has."""
    (run / "fault").write_text(f"{FAULT_STEP} 1 raise")
    wait_until(lambda: not (run / "fault").exists(), PATIENCE_S, "the fault")


def _hang(cluster: SlurmCluster, run: Path) -> None:
    """Stop all processes of the second node."""
    wait_until(lambda: FAULT_STEP in steps_of(run), PATIENCE_S, f"step {FAULT_STEP}")
    for process in daemon_of(cluster, nodes_of(run)[0][1]).children(recursive=True):
        process.suspend()
