"""`bertrain stop`: ask a run to save and end, wherever it runs."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from configs.errors import UserError
from launch.cluster import slurm
from launch.ranks import find_run, process_training_in


def stop_run(run: Path) -> str:
    """Ask; returns what was asked. `UserError` when the run does not run, or does so where we cannot reach it."""
    find_run(run)
    if jobs := slurm.jobs_of(run, slurm.queued_jobs()):
        slurm.stop_jobs(run, jobs)
        return f"asked job {', '.join(job.id for job in jobs)} to save and end"
    process = process_training_in(run)
    if process is None:
        raise UserError("nobody trains here", place=str(run), fix="see `bertrain status`")
    number, machine = process
    if machine != socket.gethostname():
        raise UserError(f"it trains on {machine}", place=str(run), fix=f"run the same command on {machine}")
    os.kill(number, signal.SIGTERM)
    return f"asked process {number} to save and end"
