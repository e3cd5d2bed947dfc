"""The stages of a preparation. Each stage runs one step on work items, in a Beam pipeline."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.errors import UserError
from configs.machine import usable_cores, usable_memory_bytes
from preprocessing.documents import Plan, Progress, WorkItem, forget, read_reports
from preprocessing.execution.engines import BeamEngine, beam, folder_mark, run_pipeline, worker_processes
from preprocessing.execution.standstill import Standstill
from preprocessing.execution.steps import Step, Work
from preprocessing.groups import FinishedGroups
from preprocessing.resuming import Share, run_folder
from preprocessing.storage import Store

_COUNTS = ("bytes", "documents", "groups")
_BYTES_PER_WORKER = 1 << 30  # of memory, for groups of the largest size
_MIN_BYTES_PER_WORKER = 10_000_000  # a process prepares this much in the time that it takes to start
_NOTHING = FinishedGroups()

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
    names: Sequence[str] = ()  # of this preparation's stages, in order
    expected: str = ""  # what the preparation is expected to take, for messages
    start_s: float = field(default_factory=time.monotonic)

    def tick_input(self, bytes_read: int, bytes_total: int) -> None:
        """Report how much of the input is hashed."""
        self._report("input", bytes_read, bytes_total)

    def tick_groups(self) -> None:
        """Report that the finished groups are being checked."""
        self._report("groups", 0, sum(item.size for item in self.share.own(self.plan)))

    def run_own(self, stage: str, work: Work[WorkItem], finished: FinishedGroups = _NOTHING) -> None:
        """Run the stage on the share's own work items, except those that are finished."""
        self._run(stage, work, [item for item in self.share.own(self.plan) if item not in finished.items], finished)

    def run_all(
        self,
        stage: str,
        work: Work[WorkItem],
        is_done: Callable[[WorkItem], bool],
        unchecked: Collection[WorkItem] = (),
    ) -> None:
        """Run the stage on the share's own items, then on all items that the other shares have not done.

        `unchecked` are items that were done before, whose files the work has to check.
        """
        self.run_own(stage, work)
        others = [item for item in self.share.others(self.plan) if item in unchecked or not is_done(item)]
        self._run(stage, work, others)
        self.refuse_undone(sum(not is_done(item) for item in self.plan.items), len(self.plan.items))

    def refuse_undone(self, undone: int, total: int) -> None:
        """Raise `UserError` if items are undone after the runner has ended; often its workers see another disk."""
        if undone:
            cause = f"the runner ended, but {undone} of {total} work items are not done"
            fix = "use a shared file system or a URL: the workers must reach this folder under the same name"
            raise UserError(cause, place=self.store.place, fix=fix)

    def _report(self, stage: str, bytes_read: int, total: int, documents: int = 0, groups: int = 0) -> None:
        seconds = time.monotonic() - self.start_s
        phase = self.names.index(stage) + 1
        self.progress(
            Progress(stage, bytes_read, total, documents, groups, seconds, phase, len(self.names), self.expected)
        )

    def run_in_turn(self, stage: str, turns: Sequence[tuple[str, Work[Any], Sequence[Any]]]) -> None:
        """Run several works in one pipeline, each on its own items, when all items of the one before it are done."""
        run = run_folder(self.store, self.share)
        mark = folder_mark(run)
        size = sum(item.size for _, _, items in turns for item in items)
        most = max(1, size // _MIN_BYTES_PER_WORKER)  # even if more are wanted: starting them would take longer
        workers = min(most, process_count(self.workers, max(len(items) for _, _, items in turns), size))

        def build(pipeline: beam.Pipeline) -> None:
            done = pipeline | beam.Create([""])
            for name, work, items in turns:
                done = (
                    done
                    | f"{name}: all names" >> beam.Map(_with_one_key)
                    | f"{name}: wait" >> beam.GroupByKey()  # no element comes out before the last one is in
                    | f"{name}: items" >> beam.ParDo(_Items(items))
                    | f"{name}: deal" >> beam.Reshuffle()
                    | name >> beam.ParDo(Step(self.store, run, work, mark))
                )

        self._watch(stage, build, workers, size)

    def _run(
        self, stage: str, work: Work[WorkItem], items: Sequence[WorkItem], finished: FinishedGroups = _NOTHING
    ) -> None:
        if not items:
            return
        run = run_folder(self.store, self.share)
        step = Step(self.store, run, work, folder_mark(run))

        def build(pipeline: beam.Pipeline) -> None:
            _ = pipeline | "work items" >> beam.Create(items) | "deal" >> beam.Reshuffle() | stage >> beam.ParDo(step)

        size = sum(item.size for item in items)
        self._watch(stage, build, worker_count(self.workers, items), size, finished)

    def _watch(
        self,
        stage: str,
        build: Callable[[beam.Pipeline], None],
        workers: int,
        size: int,
        finished: FinishedGroups = _NOTHING,
    ) -> None:
        """Run a pipeline and report its progress. `size` is the number of bytes that its workers will count."""
        run = run_folder(self.store, self.share)
        standstill = Standstill()
        done = finished.bytes
        total = done + size

        def tick() -> None:
            reports = read_reports(run)
            is_silent = not self.engine.runner and len(reports) < workers  # only then, since all processes are listed
            standstill.watch(reports, [process.pid for process in worker_processes()] if is_silent else [])
            read, documents, groups = (sum(getattr(report, name) for report in reports) for name in _COUNTS)
            read, documents, groups = read + done, documents + finished.documents, groups + finished.groups
            self._report(stage, min(read, total), total, documents, groups)

        forget(run)
        run_pipeline(build, self.engine, workers, run, tick)


class _Items(beam.DoFn):
    """Yields the items of a step, once, in place of the names that the step before it yielded."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def process(self, _names: tuple[None, Iterable[str]]) -> Iterator[Any]:
        """Yield the items."""
        yield from self._items


def _with_one_key(name: str) -> tuple[None, str]:
    return None, name


def worker_count(given: int, items: Sequence[WorkItem]) -> int:
    """Return the number of workers for the items of a plan."""
    return process_count(given, len(items), sum(item.weight for item in items))


def process_count(given: int, items: int, size: int) -> int:
    """Return the given number of workers, at most one per item.

    0: one per CPU core, fewer if memory is short or if starting them would take longer than the work on `size` bytes.
    """
    if given:
        return max(1, min(given, items))
    fitting = usable_memory_bytes() // _BYTES_PER_WORKER
    return max(1, min(usable_cores(), fitting, size // _MIN_BYTES_PER_WORKER, items))
