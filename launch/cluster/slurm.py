"""Slurm's queue: submit scripts, find a run's jobs, and stop them.

A training job is requeued automatically after a time limit, a preemption, or a failed node or rank, up to
`cluster.max_restarts` times without a new checkpoint (see launch/cluster/starts.py). launch/cluster/batch_script.py
renders the scripts.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.schema import ClusterConfig
from launch.cluster.batch_script import JOB_STAGES, TRAIN
from launch.ranks import request_stop

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


def submit_argv(script: Path, after: Sequence[str] = (), runs: Sequence[Path] = ()) -> list[str]:
    """Return the command that submits a script. It starts after the jobs `after` have succeeded.

    It checks that these `runs` are finished: a job can succeed without having done anything, e.g. with a cut script.
    """
    chained = [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []
    return ["sbatch", "--parsable", *chained, str(script), *(word for run in runs for word in ("--after", str(run)))]


def submit_script(script: Path, after: Sequence[str] = (), runs: Sequence[Path] = ()) -> str:
    """Submit a script, and return the job's id. Raise `UserError` if Slurm refuses it."""
    said = _ask(*submit_argv(script, after, runs))
    return said.partition(";")[0]  # Slurm prints `id;cluster` if it has several clusters


def queued_jobs(runs: Sequence[Path] | None = None) -> list[QueuedJob]:
    """Return the user's waiting and running jobs; an empty list if Slurm is missing or does not answer.

    Does not ask for `runs` of which none has ever been submitted: Slurm's client can be installed without a cluster.
    """
    were_submitted = runs is None or any((run / script).exists() for run in runs for script in SCRIPTS)
    if shutil.which("squeue") is None or not were_submitted:
        return []
    try:
        rows = _ask("squeue", "--me", "--noheader", "--format=%i|%T|%r|%N|%M|%o").splitlines()
    except UserError as error:
        logger.warning("could not read Slurm's queue: %s", error)
        return []
    return [
        QueuedJob(row[0], row[1], row[2], row[3], row[4], _script_in(row[5]))
        for row in (row.split("|", 5) for row in rows)
    ]


def _script_in(command: str) -> Path:
    """Return the script of a job's command, without its arguments, which Slurm does not separate from it."""
    of_ours = re.match(rf".*?/(?:{'|'.join(map(re.escape, SCRIPTS))})(?=\s|$)", command)
    return Path(of_ours[0] if of_ours else command)


def node_cores(cluster: ClusterConfig) -> int:
    """Return the cores of the smallest node on which the job can run; 0 if Slurm is missing or does not answer.

    A job with some of a node's GPUs has the same share of its cores.
    """
    if shutil.which("sinfo") is None:
        return 0
    partition = [f"--partition={cluster.partition}"] if cluster.partition else []
    try:
        rows = _ask("sinfo", "--noheader", "--Node", "--format=%P|%c|%G", *partition).splitlines()
    except UserError:  # sbatch will say it
        return 0
    nodes = [row.split("|", 2) for row in rows]
    nodes = [node for node in nodes if cluster.partition or node[0].endswith("*")] or nodes
    return min((_share_of_cores(int(cores), gres, cluster.gpus_per_node) for _, cores, gres in nodes), default=0)


def _share_of_cores(cores: int, gres: str, gpus: int) -> int:
    """Return the cores that go with this number of a node's GPUs; `gres` is Slurm's `gpu:h100:8(S:0-1),…`."""
    there = sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres))
    return max(1, cores * gpus // there) if 0 < gpus < there else cores


def jobs_of(run: Path, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """Return the jobs that run a script of this run. Job ids are not unique, because each cluster has its own."""
    return [job for job in jobs if job.script.parent == run.absolute() and job.script.name in SCRIPTS]


def stop_jobs(run: Path, jobs: Sequence[QueuedJob]) -> None:
    """Stop a run's jobs: training jobs save and end without a requeue; waiting and other jobs are cancelled."""
    for job in jobs:
        trains = job.state == "RUNNING" and job.script.name == TRAIN.script
        if trains:
            request_stop(run, f"job {job.id}")
        _ask("scancel", *(["--batch", "--signal=USR1"] if trains else []), job.id)


def _ask(*argv: str) -> str:
    """Run one of Slurm's commands without a shell, and return its output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        fix = "log in to a node of the cluster, or use --to local"
        raise UserError(f"{argv[0]} is not installed: this machine has no Slurm", place=argv[0], fix=fix) from None
    except subprocess.TimeoutExpired:
        raise UserError("Slurm does not answer", place=argv[0], fix="check `scontrol ping`") from None
    if done.returncode:
        message = " ".join(line.removeprefix(f"{argv[0]}: ") for line in done.stderr.strip().splitlines())
        raise UserError(message.removeprefix("error: "), place=argv[0], fix="check `sinfo` and the recipe's [cluster]")
    return done.stdout.strip()
