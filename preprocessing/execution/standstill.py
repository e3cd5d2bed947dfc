"""Name a worker that stands still: stopped by a signal, waiting for a file system, or in one document for very long."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from preprocessing.documents import Report

PATIENCE_S = 60.0  # between two reports of a worker that has work

_REASONS = {
    psutil.STATUS_STOPPED: "the process is stopped; continue it with `kill -CONT {pid}`",
    psutil.STATUS_TRACING_STOP: "a debugger has stopped the process",
    psutil.STATUS_DISK_SLEEP: "the process waits for a file system that does not respond",
    psutil.STATUS_RUNNING: "the process is computing",
}

logger = logging.getLogger(__name__)


@dataclass
class Standstill:
    """Watches the reports of a run's workers."""

    patience_s: float = field(default_factory=lambda: PATIENCE_S)
    _since_s: dict[Report, float] = field(default_factory=dict)  # when each report was first seen
    _named: set[tuple[str, int]] = field(default_factory=set)  # the workers that stand still

    def watch(self, reports: Iterable[Report]) -> None:
        """Log a warning for each worker that has work and has not reported anything new for `patience_s`, once."""
        now_s = time.monotonic()
        self._since_s = {report: self._since_s.get(report, now_s) for report in reports}
        for report, since_s in self._since_s.items():
            worker = report.host, report.pid
            if not report.place or now_s - since_s < self.patience_s:
                self._named.discard(worker)
            elif worker not in self._named:
                self._named.add(worker)
                logger.warning(
                    "worker process %d on %s has stood still for %.0f s, last at %s; %s",
                    report.pid,
                    report.host,
                    now_s - since_s,
                    report.place,
                    _reason(report),
                )


def _reason(report: Report) -> str:
    try:
        is_here = report.host == socket.gethostname()
        state = psutil.Process(report.pid).status() if is_here else ""
    except psutil.NoSuchProcess:
        return "the process has ended"
    return _REASONS.get(state, "it may wait for a file system, or for a very long document").format(pid=report.pid)
