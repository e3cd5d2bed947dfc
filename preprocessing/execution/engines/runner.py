"""Run a Beam pipeline, on this machine or elsewhere, and end it at the first failure.

Beam's `run` blocks, ignores Ctrl-C, and waits for all workers before it reports that one has failed. So `run` has its
own thread, while the calling thread watches for Ctrl-C, for errors that workers report, and for dead workers.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from preprocessing.documents import forget_stop, request_stop
from preprocessing.execution.engines.beam_api import PipelineResult, beam
from preprocessing.execution.engines.engine import WORKER_MODULE, BeamEngine
from preprocessing.execution.engines.failures import explained
from preprocessing.execution.engines.job_server import JobServer
from preprocessing.execution.engines.reports import forget_reports, raise_reported, raise_unreported
from preprocessing.storage import Store

_EXIT_WAIT_S = 0.2
_VISIT_WAIT_S = 3.0  # until work inside this process checks for a stop; the end of the process stops it anyway
_CANCEL_WAIT_S = 10.0  # until an engine has accepted a job, and again until it has cancelled it

logger = logging.getLogger(__name__)


def run_pipeline(
    build: Callable[[beam.Pipeline], None], engine: BeamEngine, workers: int, work: Store, tick: Callable[[], None]
) -> None:
    """Run the pipeline that `build` describes. `tick` is called at the start and then a few times per second.

    On this machine, two or more workers run as processes, all of which have ended when this returns or raises. Another
    engine's job is cancelled when this raises before the job's end, and a job server that was started for it is stopped
    in any case. Steps wrap their work in `reported(work)`, so that a `UserError` in a step is raised here, wherever the
    step ran.
    """
    forget_reports(work)
    forget_stop(work)
    pipeline = engine.pipeline(workers)
    build(pipeline)
    tick()
    run = _Run(pipeline, engine, workers)
    with run.recording_worker_deaths():
        try:
            run.start()
            while not run.finished.wait(work.pace_s):
                tick()
                raise_reported(work)
                run.raise_worker_death()
            raise_reported(work)
            if run.has_failed:
                raise_unreported(work)
            run.raise_failure()
            tick()
        finally:
            run.end(work)


def worker_processes() -> list[psutil.Process]:
    """Return the worker processes that this process has started on this machine; the shells that become them, too."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any(re.search(rf"{re.escape(WORKER_MODULE)}\b", argument) for argument in process.cmdline()):
                found.append(process)
    return found


class WorkerKilledError(RuntimeError):
    """A worker process was killed. The input is not wrong, and finished parts are kept for the next run."""

    def __init__(self, death: str) -> None:
        super().__init__(
            f"a preparation worker was killed ({death}); the most likely cause is a lack of memory. Run the same "
            "command again to resume; if it happens again, lower data.workers or data.group_bytes."
        )


class _Run:
    """A pipeline that runs in a thread."""

    def __init__(self, pipeline: beam.Pipeline, engine: BeamEngine, workers: int) -> None:
        self.finished = threading.Event()  # `Thread.join` cannot wait again after Ctrl-C in Python 3.11
        self._settled = threading.Event()  # the engine has accepted the job, or has refused it
        self._server = JobServer()
        self._pipeline = pipeline
        self._engine = engine
        self._workers = workers
        self._result: PipelineResult | None = None
        self._failure: BaseException | None = None
        self._death = ""
        self._thread = threading.Thread(target=self._run, name="beam", daemon=True)

    def start(self) -> None:
        """Start the runner's job server, if it has one, then the thread."""
        try:
            self._server.start_for(self._pipeline)
        except Exception as error:
            raise explained(error, self._engine) from error
        self._thread.start()

    def end(self, work: Store) -> None:
        """Kill worker processes, cancel unfinished work elsewhere, and stop work inside at its next `Monitor.visit`."""
        is_elsewhere = bool(self._engine.runner)
        is_unfinished = self._thread.is_alive()
        try:
            request_stop(work, elsewhere=is_elsewhere and is_unfinished)
            if is_elsewhere and is_unfinished:
                self._cancel()
            _kill_workers()
            is_inside = self._workers == 1 and not is_elsewhere
            if is_unfinished:
                self.finished.wait(_VISIT_WAIT_S if is_inside else _EXIT_WAIT_S)
        finally:
            self._server.stop()

    def _cancel(self) -> None:
        """Cancel the job on the engine, as soon as the engine has accepted it. Says so if it cannot be cancelled."""
        complaints = ["the engine does not respond"]

        def cancel() -> None:
            try:
                if self._result is not None:
                    self._result.cancel()
                complaints.clear()
            except Exception as error:  # noqa: BLE001  # runners raise various types
                complaints[:] = [str(explained(error, self._engine))]

        if self._settled.wait(_CANCEL_WAIT_S):
            canceller = threading.Thread(target=cancel, name="cancel", daemon=True)
            canceller.start()
            canceller.join(_CANCEL_WAIT_S)
        if complaints and not self.finished.is_set():
            logger.warning("the job may still run on %s, cancel it there: %s", self._engine.runner, complaints[0])

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
            raise explained(self._failure, self._engine) from self._failure
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
            self._settled.set()
            self._result.wait_until_finish()
        except BaseException as error:  # noqa: BLE001  # the watching thread raises it
            self._failure = error
        finally:
            _close_client(self._result)
            self._settled.set()
            self.finished.set()


def _kill_workers() -> None:
    for process in worker_processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _close_client(result: PipelineResult | None) -> None:
    """Close the connection to a Dask cluster, which Beam leaves open."""
    if (client := getattr(result, "client", None)) is not None:
        with suppress(Exception):  # the cluster has ended
            client.close()
