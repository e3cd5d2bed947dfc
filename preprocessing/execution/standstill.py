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
    psutil.STATUS_DEAD: "the process has ended",
}
_HELD = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP)

logger = logging.getLogger(__name__)


@dataclass
class Standstill:
    """Watches the reports of a run's workers."""

    patience_s: float = field(default_factory=lambda: PATIENCE_S)
    _since_s: dict[Report, float] = field(default_factory=dict)  # when each report was first seen
    _named: set[tuple[str, int]] = field(default_factory=set)  # the workers that stand still
    _began_s: float = field(default_factory=time.monotonic)
    _is_alone_named: bool = False  # that no worker has reported yet

    def watch(self, reports: Iterable[Report], worker_ids: Iterable[int] = ()) -> None:
        """Log a warning, once, for each worker that has not reported anything new for `patience_s` and has work.

        A worker without work is named only if its process is held: Beam can have dealt it the next work item already.
        This includes the workers on this machine, given by their process IDs, that have not reported anything yet.
        """
        now_s, host = time.monotonic(), socket.gethostname()
        reports = list(reports)
        silent = set(worker_ids) - {report.pid for report in reports if report.host == host}
        reports += [Report(host, pid, bytes=0, documents=0, groups=0, visits=0, place="") for pid in silent]
        if not reports and not self._is_alone_named and now_s - self._began_s >= self.patience_s:
            self._is_alone_named = True
            logger.warning("no worker has begun for %.0f s; check that the engine has workers", now_s - self._began_s)
        self._since_s = {report: self._since_s.get(report, now_s) for report in reports}
        for report, since_s in self._since_s.items():
            worker = report.host, report.pid
            if now_s - since_s < self.patience_s or not (report.place or _state(report) in _HELD):
                self._named.discard(worker)
            elif worker not in self._named:
                self._named.add(worker)
                logger.warning(
                    "worker process %d on %s has stood still for %.0f s, last at %s; %s",
                    report.pid,
                    report.host,
                    now_s - since_s,
                    report.place or ("the end of a work item" if report.visits else "its start"),
                    _reason(report),
                )


def _reason(report: Report) -> str:
    reason = _REASONS.get(_state(report), "it may wait for a file system, or for a very long document")
    return reason.format(pid=report.pid)


def _state(report: Report) -> str:
    """Return the state of a worker's process, as psutil names it; empty on another host."""
    if report.host != socket.gethostname():
        return ""
    try:
        return str(psutil.Process(report.pid).status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_DEAD)
