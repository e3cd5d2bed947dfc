"""`bertrain stop`: ask a run to save a checkpoint and exit."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from configs.errors import UserError
from launch.cluster import slurm
from launch.ranks import find_run, process_training_in


def stop_run(run: Path) -> str:
    """Stop a run, and return a message. Raise `UserError` if it is not running, or runs on another machine."""
    find_run(run)
    if jobs := slurm.jobs_of(run, slurm.queued_jobs()):
        slurm.stop_jobs(run, jobs)
        return f"asked job {', '.join(job.id for job in jobs)} to save a checkpoint and exit"
    process = process_training_in(run)
    if process is None:
        raise UserError("the run is not running", place=str(run), fix="check `bertrain status`")
    number, machine = process
    if machine != socket.gethostname():
        raise UserError(f"the run is on {machine}", place=str(run), fix=f"run the same command on {machine}")
    os.kill(number, signal.SIGTERM)
    return f"asked process {number} to save a checkpoint and exit"
