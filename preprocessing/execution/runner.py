"""Run a Beam pipeline, on this machine or elsewhere, and end it at the first failure.

Beam's `run` blocks, ignores Ctrl-C, and waits for all workers before it reports that one has failed. So `run` has its
own thread, while the calling thread watches for Ctrl-C, for errors that workers report, and for dead workers.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from configs.errors import UserError
from preprocessing.documents import StoppedError, stop_requested
from preprocessing.execution.beam_api import PipelineResult, beam
from preprocessing.execution.engine import WORKER_MODULE, BeamEngine
from preprocessing.storage import Store

_REPORT = "error.json"
_TRIAL = "trial"
_EXIT_WAIT_S = 0.2
_VISIT_WAIT_S = 3.0  # until work inside this process checks for a stop; the end of the process stops it anyway

logger = logging.getLogger(__name__)
unreported: list[UserError] = []  # by steps inside this process, if the disk was full


def run_pipeline(
    build: Callable[[beam.Pipeline], None], engine: BeamEngine, workers: int, work: Store, tick: Callable[[], None]
) -> None:
    """Run the pipeline that `build` describes. `tick` is called at the start and then a few times per second.

    On this machine, two or more workers run as processes, all of which have ended when this returns or raises. Other
    engines are asked to cancel unfinished work. Steps wrap their work in `reported(work)`, so that a `UserError` in a
    step is raised here, wherever the step ran.
    """
    work.remove(_REPORT)
    stop_requested.clear()
    unreported.clear()
    pipeline = engine.pipeline(workers)
    build(pipeline)
    tick()
    run = _Run(pipeline, engine, workers)
    with run.recording_worker_deaths():
        try:
            run.start()
            while not run.finished.wait(work.pace_s):
                tick()
                _raise_reported(work)
                run.raise_worker_death()
            _raise_reported(work)
            if run.has_failed:
                _raise_unreported(work)
            run.raise_failure()
            tick()
        finally:
            run.end()


def worker_processes() -> list[psutil.Process]:
    """Return the worker processes that this process has started on this machine; the shells that become them, too."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any(WORKER_MODULE in argument for argument in process.cmdline()):
                found.append(process)
    return found


class WorkerKilledError(RuntimeError):
    """A worker process was killed. The input is not wrong, and finished parts are kept for the next run."""

    def __init__(self, death: str) -> None:
        super().__init__(
            f"a preparation worker was killed ({death}); the most likely cause is a lack of memory. Run the same "
            "command again to resume; if it happens again, lower data.workers or data.group_bytes."
        )


@contextmanager
def reported(work: Store) -> Iterator[None]:
    """Write an exception of the block to a file for the driver, because Beam passes on its text at most."""
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        is_users = isinstance(error, UserError)
        report = vars(error) if is_users else {"traceback": traceback.format_exc()}
        try:
            work.note(_REPORT, json.dumps(report))
        except (OSError, UserError) as full:
            unreported.extend(each for each in (error, full) if isinstance(each, UserError))
        raise


def _raise_unreported(work: Store) -> None:
    """Raise the error of a step that left no report, or what prevented the report, such as a full disk."""
    if unreported:
        raise unreported[0]
    work.note(_TRIAL, " " * 4_096)
    work.remove(_TRIAL)


def _raise_reported(work: Store) -> None:
    content = work.read(_REPORT)
    if content is None:
        return
    report = json.loads(content)
    work.remove(_REPORT)
    if "cause" in report:
        raise UserError(**report)
    raise RuntimeError(f"preparation failed in a worker\n{report['traceback']}")


class _Run:
    """A pipeline that runs in a thread."""

    def __init__(self, pipeline: beam.Pipeline, engine: BeamEngine, workers: int) -> None:
        self.finished = threading.Event()  # `Thread.join` cannot wait again after Ctrl-C in Python 3.11
        self._pipeline = pipeline
        self._engine = engine
        self._workers = workers
        self._result: PipelineResult | None = None
        self._failure: BaseException | None = None
        self._death = ""
        self._thread = threading.Thread(target=self._run, name="beam", daemon=True)

    def start(self) -> None:
        """Start the thread and return."""
        self._thread.start()

    def end(self) -> None:
        """Kill worker processes, and stop work inside this process at its next `Monitor.visit`."""
        stop_requested.set()
        if self._engine.runner and not self.finished.is_set():
            self._cancel()
        for process in worker_processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        is_inside = self._workers == 1 and not self._engine.runner
        self.finished.wait(_VISIT_WAIT_S if is_inside else _EXIT_WAIT_S)

    def _cancel(self) -> None:
        try:
            if self._result is not None:
                self._result.cancel()
        except Exception as error:  # noqa: BLE001  # runners raise various types; the run's own error matters more
            logger.info("cannot cancel the pipeline on %s: %s", self._engine.runner, error)

    @property
    def has_failed(self) -> bool:
        """Whether the pipeline ended with an error."""
        return self._failure is not None

    def raise_worker_death(self) -> None:
        """Raise if a worker process died: `WorkerKilledError` if it was killed."""
        if "return code -" in self._death:
            raise WorkerKilledError(self._death)
        if self._death:
            raise RuntimeError(self._death)

    def raise_failure(self) -> None:
        """Raise the error of a failed pipeline."""
        self.raise_worker_death()
        if self._failure is not None and self._engine.runner:
            fix = "check the runner's log and options; the same command resumes the work"
            cause = str(self._failure).strip().split("\n")[0] or type(self._failure).__name__
            raise UserError(f"the runner failed: {cause}", place=self._engine.runner, fix=fix) from self._failure
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def recording_worker_deaths(self) -> Iterator[None]:
        """Record the deaths of worker processes: Beam's threads that wait for them raise, as do its gRPC threads."""
        previous = threading.excepthook

        def note(failed: threading.ExceptHookArgs) -> None:
            if failed.thread is not None and failed.thread.name == "run_worker":
                self._death = str(failed.exc_value)
            elif not failed.exc_type.__module__.startswith("grpc"):
                previous(failed)

        threading.excepthook = note
        try:
            yield
        finally:
            threading.excepthook = previous

    def _run(self) -> None:
        try:
            self._result = self._pipeline.run()
            self._result.wait_until_finish()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the watching thread raises it
            self._failure = error
        finally:
            self.finished.set()
