"""`bertrain stop`: ask a run to save a checkpoint and exit.

The request is a file in the run folder, which rank 0 reads at each step. No process gets a signal by its number, which
can be another process's on another machine or in another container.
"""

from __future__ import annotations

import socket
from pathlib import Path

from configs.errors import UserError
from launch.cluster import slurm
from launch.ranks import check_is_run, has_locks, process_training_in, read_starts, read_verdict, request_stop


def stop_run(run: Path) -> str:
    """Stop a run, and return a message. Raise `UserError` if it is not running."""
    check_is_run(run)
    if jobs := slurm.jobs_of(run, slurm.queued_jobs([run])):
        slurm.stop_jobs(run, jobs)
        return f"asked job {', '.join(job.id for job in jobs)} to save a checkpoint and exit"
    begun = read_starts(run)
    if not begun or read_verdict(run, begun[-1].number) or not _can_be_running(run, begun[-1].job):
        raise UserError("the run is not running", place=str(run), fix="check `bertrain status`")
    request_stop(run, f"start {begun[-1].number}")
    return f"asked {begun[-1].job} to save a checkpoint and exit after its current step"


def _can_be_running(run: Path, job: str) -> bool:
    """Return False if it surely ended: on this machine, a start whose lock is free has been killed."""
    started_here = job.endswith(f" on {socket.gethostname()}")
    return process_training_in(run) is not None or not started_here or not has_locks(run)
