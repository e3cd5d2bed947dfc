"""Run a Beam pipeline, on this machine or elsewhere, and end it as soon as anything fails.

Beam's `run` blocks, does not mind Ctrl-C, and waits for all workers before it says that one has failed. So it runs in a
thread of its own, and this one watches: for Ctrl-C, for an error that a worker has reported, for a worker that died.
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
_LAST_LOOK_S = 0.2
_PATIENCE_S = 30.0  # for work inside this process to come to its next visit: a pass of a large group away

logger = logging.getLogger(__name__)
unreported: list[UserError] = []  # of steps inside this process, when there was no room to write them down


def run_pipeline(
    build: Callable[[beam.Pipeline], None], engine: BeamEngine, workers: int, work: Store, tick: Callable[[], None]
) -> None:
    """Run the pipeline that `build` describes; `tick` is called when it begins, and a few times a second.

    On this machine, with more than one worker each is a process of its own; when this returns or raises, none is left.
    Another engine is told to cancel what it has not done. Steps wrap their work in `reported(work)`: then the
    `UserError` that one raises is raised here, wherever it ran.
    """
    work.remove(_REPORT)
    stop_requested.clear()
    unreported.clear()
    pipeline = engine.pipeline(workers)
    build(pipeline)
    tick()
    run = _Run(pipeline, engine, workers)
    with run.noting_deaths():
        try:
            run.start()
            while not run.finished.wait(work.pace_s):
                tick()
                _raise_reported(work)
                run.raise_death()
            _raise_reported(work)
            if run.has_failed:
                _raise_unreported(work)
            run.raise_failure()
            tick()
        finally:
            run.end()


@contextmanager
def reported(work: Store) -> Iterator[None]:
    """Write down what is raised in the block, for the driver: Beam makes text of it, or nothing."""
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
    """A step failed and left no report: raise its error, or what kept it from writing one, such as a full disk."""
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
    """A pipeline in a thread."""

    def __init__(self, pipeline: beam.Pipeline, engine: BeamEngine, workers: int) -> None:
        self.finished = threading.Event()  # not `Thread.join`, which Python 3.11 breaks off for good at a Ctrl-C
        self._pipeline = pipeline
        self._engine = engine
        self._workers = workers
        self._result: PipelineResult | None = None
        self._failure: BaseException | None = None
        self._death = ""
        self._thread = threading.Thread(target=self._run, name="beam", daemon=True)

    def start(self) -> None:
        """Begin, and return."""
        self._thread.start()

    def end(self) -> None:
        """Stop what still runs: worker processes at once, work inside this process at its next visit."""
        stop_requested.set()
        if self._engine.runner and not self.finished.is_set():
            self._cancel()
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if WORKER_MODULE in process.cmdline():
                    process.kill()
        is_inside = self._workers == 1 and not self._engine.runner
        self.finished.wait(_PATIENCE_S if is_inside else _LAST_LOOK_S)

    def _cancel(self) -> None:
        try:
            if self._result is not None:
                self._result.cancel()
        except Exception as error:  # noqa: BLE001  # each runner has its own; what ends us says more
            logger.info("%s could not be told to stop: %s", self._engine.runner, error)

    @property
    def has_failed(self) -> bool:
        """Whether the pipeline ended with an error."""
        return self._failure is not None

    def raise_death(self) -> None:
        """Raise if a worker process died: a `UserError` if it was killed, most likely for lack of memory."""
        if "return code -" in self._death:
            raise UserError(
                f"a preparation worker was killed ({self._death}); most often the machine has run out of memory",
                fix="lower data.workers or data.group_bytes and run the same command again: it goes on where it was",
            )
        if self._death:
            raise RuntimeError(self._death)

    def raise_failure(self) -> None:
        """Raise what made the pipeline fail, if anything did."""
        self.raise_death()
        if self._failure is not None and self._engine.runner:
            fix = "see its log and its options; the same command goes on where it was"
            cause = str(self._failure).strip().split("\n")[0] or type(self._failure).__name__
            raise UserError(f"the runner failed: {cause}", place=self._engine.runner, fix=fix) from self._failure
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def noting_deaths(self) -> Iterator[None]:
        """Hear of dying worker processes: the threads of Beam's that wait for them raise, and so do their partners."""
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
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, the watching thread raises it
            self._failure = error
        finally:
            self.finished.set()
