"""The stages of a preparation. Each stage runs one step on work items, in a Beam pipeline."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from configs.errors import UserError
from configs.machine import usable_cores, usable_memory_bytes
from preprocessing.documents import Plan, Progress, WorkItem, forget, read_reports
from preprocessing.execution.beam_api import beam
from preprocessing.execution.engine import BeamEngine
from preprocessing.execution.runner import run_pipeline, worker_processes
from preprocessing.execution.standstill import Standstill
from preprocessing.execution.steps import Step, Work
from preprocessing.resuming import Share, run_folder
from preprocessing.storage import Store

_COUNTS = ("bytes", "documents", "groups")
_BYTES_PER_WORKER = 1 << 30  # of memory, for groups of the largest size
_MIN_BYTES_PER_WORKER = 10_000_000  # a process prepares this much in the time that it takes to start

ReportProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Stages:
    """Runs the stages of one preparation, or of one share, in the data set's folder."""

    store: Store
    plan: Plan
    share: Share
    engine: BeamEngine
    workers: int  # on this machine; 0: chosen by the amount of work
    progress: ReportProgress
    names: Sequence[str] = ("input", "duplicates", "vocabulary", "groups")  # of this preparation's stages, in order
    expected: str = ""  # what the preparation is expected to take, for messages
    start_s: float = field(default_factory=time.monotonic)

    def tick_input(self, bytes_read: int, bytes_total: int) -> None:
        """Report how much of the input is hashed."""
        self._report("input", bytes_read, bytes_total)

    def run_own(self, stage: str, work: Work) -> None:
        """Run the stage on the share's own work items."""
        self._run(stage, work, self.share.own(self.plan))

    def run_all(self, stage: str, work: Work, is_done: Callable[[WorkItem], bool]) -> None:
        """Run the stage on the share's own items, then on all items that the other shares have not done."""
        self.run_own(stage, work)
        self._run(stage, work, [item for item in self.share.others(self.plan) if not is_done(item)])
        self.refuse_undone([item for item in self.plan.items if not is_done(item)])

    def refuse_undone(self, items: Collection[WorkItem]) -> None:
        """Raise `UserError` if items are undone after the runner has ended; often its workers see another disk."""
        if items:
            cause = f"the runner ended, but {len(items)} of {len(self.plan.items)} work items are not done"
            fix = "use a shared file system or a URL: the workers must reach this folder under the same name"
            raise UserError(cause, place=self.store.place, fix=fix)

    def _report(self, stage: str, bytes_read: int, total: int, documents: int = 0, groups: int = 0) -> None:
        seconds = time.monotonic() - self.start_s
        phase = self.names.index(stage) + 1
        self.progress(
            Progress(stage, bytes_read, total, documents, groups, seconds, phase, len(self.names), self.expected)
        )

    def _run(self, stage: str, work: Work, items: Sequence[WorkItem]) -> None:
        if not items:
            return
        run = run_folder(self.store, self.share)
        step = Step(self.store, run, work)
        workers = worker_count(self.workers, items)
        total = sum(item.size for item in items)

        def build(pipeline: beam.Pipeline) -> None:
            _ = pipeline | "work items" >> beam.Create(items) | "deal" >> beam.Reshuffle() | stage >> beam.ParDo(step)

        standstill = Standstill()

        def tick() -> None:
            reports = read_reports(run)
            is_silent = not self.engine.runner and len(reports) < workers  # only then, since all processes are listed
            standstill.watch(reports, [process.pid for process in worker_processes()] if is_silent else [])
            read, documents, groups = (sum(getattr(report, name) for report in reports) for name in _COUNTS)
            self._report(stage, min(read, total), total, documents, groups)

        forget(run)
        run_pipeline(build, self.engine, workers, run, tick)


def worker_count(given: int, items: Sequence[WorkItem]) -> int:
    """Return the given number of workers, at most one per item.

    0: one per CPU core, fewer if memory is short or if starting them would take longer than the work.
    """
    if given:
        return min(given, len(items))
    fitting = usable_memory_bytes() // _BYTES_PER_WORKER
    useful = sum(item.weight for item in items) // _MIN_BYTES_PER_WORKER
    return max(1, min(usable_cores(), fitting, useful, len(items)))
