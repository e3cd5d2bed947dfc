"""Slurm's queue: `submit` hands it a script, `jobs_of` and `stop` find a run's jobs again.

A job that trains comes back by itself after a time limit, a preemption, a node that failed or a rank that crashed,
within the bound of `cluster.max_restarts` (see launch/cluster/starts.py). launch/cluster/batch_script.py writes
the scripts.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.run_layout import STOP
from launch.cluster.batch_script import JOB_STAGES, TRAIN

SCRIPTS = tuple(stage.script for stage in JOB_STAGES)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue."""

    id: str
    state: str  # PENDING, RUNNING, COMPLETING …
    reason: str  # why it waits
    nodes: str
    elapsed: str
    script: Path


def submit_argv(script: Path, after: Sequence[str] = ()) -> list[str]:
    """The command that submits a script; `after` names the jobs that must have succeeded before."""
    chained = [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []
    return ["sbatch", "--parsable", *chained, str(script)]


def submit_script(script: Path, after: Sequence[str] = ()) -> str:
    """Submit a script; returns the job's id. `UserError` when Slurm refuses it."""
    return _ask(*submit_argv(script, after)).partition(";")[0]  # `id;cluster` where there are several clusters


def queued_jobs() -> list[QueuedJob]:
    """The user's jobs that wait or run; none where there is no Slurm, or none that answers."""
    if shutil.which("squeue") is None:
        return []
    try:
        rows = _ask("squeue", "--me", "--noheader", "--format=%i|%T|%r|%N|%M|%o").splitlines()
    except UserError as error:
        logger.warning("Slurm's queue is not looked at: %s", error)
        return []
    return [
        QueuedJob(row[0], row[1], row[2], row[3], row[4], Path(row[5])) for row in (row.split("|", 5) for row in rows)
    ]


def jobs_of(run: Path, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """Those that run a script of this run. A job's id would not tell: another cluster counts anew."""
    return [job for job in jobs if job.script.parent == run.absolute() and job.script.name in SCRIPTS]


def stop_jobs(run: Path, jobs: Sequence[QueuedJob]) -> None:
    """Ask a run's jobs to save and end for good; what only waits, or prepares, is cancelled."""
    for job in jobs:
        trains = job.state == "RUNNING" and job.script.name == TRAIN.script
        if trains:
            (run / STOP).touch()
        _ask("scancel", *(["--batch", "--signal=USR1"] if trains else []), job.id)


def _ask(*argv: str) -> str:
    """One of Slurm's commands, without a shell: what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        fix = "log in to a node of the cluster, or use --to local"
        raise UserError(f"no {argv[0]} here: this machine has no Slurm", place=argv[0], fix=fix) from None
    except subprocess.TimeoutExpired:
        raise UserError("Slurm does not answer", place=argv[0], fix="see `scontrol ping`") from None
    if done.returncode:
        words = " ".join(line.removeprefix(f"{argv[0]}: ") for line in done.stderr.strip().splitlines())
        raise UserError(words.removeprefix("error: "), place=argv[0], fix="see `sinfo`, and the recipe's [cluster]")
    return done.stdout.strip()
