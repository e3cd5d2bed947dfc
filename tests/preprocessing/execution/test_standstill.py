"""Workers that stand still are named, by the real state of a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from preprocessing.documents import Report
from preprocessing.execution.standstill import Standstill


@pytest.fixture
def worker() -> Iterator[psutil.Popen]:
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
    yield process
    if process.is_running():
        process.kill()
        process.wait()


def report_of(worker: psutil.Popen, place: str) -> Report:
    return Report(socket.gethostname(), worker.pid, bytes=1, documents=2, groups=0, visits=3, place=place)


def stop(worker: psutil.Popen) -> None:
    worker.send_signal(signal.SIGSTOP)
    while worker.status() != psutil.STATUS_STOPPED:
        pass


@pytest.mark.parametrize("place", ["dump.xml, byte 7", ""])
def test_a_stopped_worker_is_named_once_also_between_two_work_items(
    worker: psutil.Popen, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    stop(worker)
    standstill = Standstill(patience_s=0.0)
    for _ in range(3):
        standstill.watch([report_of(worker, place)])
    (message,) = caplog.messages
    assert f"worker process {worker.pid} on {socket.gethostname()} has stood still" in message
    assert f"last at {place or 'the end of a work item'}; the process is stopped" in message
    assert f"`kill -CONT {worker.pid}`" in message


def test_a_worker_that_is_stopped_before_its_first_report_is_named(
    worker: psutil.Popen, caplog: pytest.LogCaptureFixture
) -> None:
    standstill = Standstill(patience_s=0.0)
    standstill.watch([], [worker.pid])
    assert caplog.messages == []  # it may still be importing
    stop(worker)
    for _ in range(3):
        standstill.watch([], [worker.pid])
    (message,) = caplog.messages
    assert f"worker process {worker.pid} on {socket.gethostname()} has stood still" in message
    assert "last at its start; the process is stopped" in message


def test_a_worker_without_work_is_not_named(worker: psutil.Popen, caplog: pytest.LogCaptureFixture) -> None:
    Standstill(patience_s=0.0).watch([report_of(worker, "")])
    assert caplog.messages == []


def test_a_worker_that_ended_is_named(worker: psutil.Popen, caplog: pytest.LogCaptureFixture) -> None:
    worker.kill()
    worker.wait()
    Standstill(patience_s=0.0).watch([report_of(worker, "dump.xml, byte 7")])
    assert "the process has ended" in caplog.text


def test_engine_without_workers_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    standstill = Standstill(patience_s=0.0)
    for _ in range(3):
        standstill.watch([])
    (message,) = caplog.messages
    assert message.startswith("no worker has begun for 0 s; check that the engine has workers")
