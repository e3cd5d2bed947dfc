"""Real preparations that are stopped or killed in their first stage: what is kept, and which exit code says so."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from configs.schema import DataConfig
from preprocessing.execution.engines.engine import WORKER_MODULE
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import digests, make_documents, small_config, wikipedia_xml

PATIENCE_S = 120  # what takes so long has hung, on the most loaded machine

PROGRAM = """
import logging, sys
from configs.schema import DataConfig
from launch.display import prepare_with_progress
from preprocessing.execution import standstill
logging.basicConfig(level=logging.WARNING, format="%(message)s")
standstill.PATIENCE_S = 1.0
sys.exit(prepare_with_progress(DataConfig.model_validate_json(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 pages in about 120 work items; wikitext is the slowest format to clean."""
    pages = [(f"Page {number}", text) for number, text in enumerate(make_documents(6_000))]
    path = tmp_path_factory.mktemp("dump") / "dump.xml"
    path.write_text(wikipedia_xml(pages))
    return path


def recipe(folder: Path, dump: Path, workers: int = 2) -> DataConfig:
    corpora = [{"paths": [str(dump)], "format": "wikipedia"}]
    return small_config(folder, corpora=corpora, workers=workers, group_bytes=20_000, dupe_factor=1)


class Preparation:
    """A running preparation, its workers, and its folder for temporary files."""

    def __init__(self, config: DataConfig, temporary: Path) -> None:
        temporary.mkdir(exist_ok=True)
        self.temporary = temporary
        self.work = Path(config.dataset) / ".prepare"
        self.process = psutil.Popen(
            [sys.executable, "-c", PROGRAM, config.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        self.workers: list[psutil.Process] = []

    def cleaned(self) -> dict[str, tuple[int, int]]:
        """The finished cleaned items, each with its inode and time: those of a file made again are others."""
        entries = list(self.work.glob("cleaned-*.json"))
        states = {path.name: path.stat() for entry in entries for path in (entry, entry.with_suffix(".arrow"))}
        return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)
        self.workers = [child for child in self.process.children(recursive=True) if child.is_running()]

    def wait_for_items(self, count: int) -> None:
        """Return when so many items are cleaned."""
        self.wait_for(lambda: len(list(self.work.glob("cleaned-*.json"))) >= count)

    def end(self) -> tuple[int, str]:
        """The exit code and the output; no process and no temporary file may be left."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        _, alive = psutil.wait_procs(self.workers, timeout=10)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
        assert list(self.temporary.iterdir()) == []
        return self.process.returncode, output

    def abandon(self) -> None:
        for process in [*self.workers, self.process]:
            if process.is_running():
                process.kill()
        self.process.communicate()


Start = Callable[[DataConfig], Preparation]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Preparation] = []

    def begin(config: DataConfig) -> Preparation:
        started.append(Preparation(config, tmp_path / "temporary"))
        return started[-1]

    yield begin
    for preparation in started:
        preparation.abandon()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_first_stage_says_what_is_kept(
    tmp_path: Path, dump: Path, start: Start, number: signal.Signals
) -> None:
    preparation = start(recipe(tmp_path / "dataset", dump))
    preparation.wait_for_items(2)
    preparation.process.send_signal(number)
    code, output = preparation.end()
    assert code == 75, output
    assert f"stopped by {number.name}\nkept: " in output
    assert output.endswith("cleaned work items; run the same command again to resume\n")
    assert len(preparation.cleaned()) >= 4


def test_a_stop_before_anything_is_finished_is_told_apart(tmp_path: Path, dump: Path, start: Start) -> None:
    preparation = start(recipe(tmp_path / "dataset", dump).model_copy(update={"group_bytes": 64_000_000}))
    preparation.wait_for((preparation.work / "job.json").exists)
    preparation.process.send_signal(signal.SIGTERM)
    code, output = preparation.end()
    assert code == 128 + signal.SIGTERM, output
    assert output.endswith("nothing was finished yet; run the same command again to start anew\n")


def test_a_killed_worker_is_no_input_error_and_takes_nothing_along(tmp_path: Path, dump: Path, start: Start) -> None:
    preparation = start(recipe(tmp_path / "dataset", dump))
    preparation.wait_for_items(2)
    preparation.workers[0].kill()
    code, output = preparation.end()
    assert code == 75, output
    assert "error: a preparation worker was killed" in output
    kept = preparation.cleaned()
    assert len(kept) >= 4
    again = start(recipe(tmp_path / "dataset", dump))
    again.wait_for((again.work / "boilerplate.npy").exists)
    assert kept.items() <= again.cleaned().items()
    again.process.terminate()
    code, output = again.end()
    assert code == 75, output
    assert f"resumes: {len(kept) // 2} cleaned work items of earlier runs are kept\n" in output


def test_a_worker_that_is_killed_before_anything_is_finished_ends_with_1(
    tmp_path: Path, dump: Path, start: Start
) -> None:
    config = recipe(tmp_path / "dataset", dump).model_copy(update={"group_bytes": 1_000_000})
    preparation = start(config)
    preparation.wait_for(lambda: len(list(preparation.work.glob("share-*/*.progress"))) >= 2)
    preparation.workers[0].kill()
    code, output = preparation.end()
    assert code == (75 if preparation.cleaned() else 1), output


@pytest.mark.parametrize("items", [0, 2])
def test_stopped_workers_are_named_and_die_with_their_driver(
    tmp_path: Path, dump: Path, start: Start, items: int
) -> None:
    """A stopped process runs no code of ours, so the kernel has to end it.

    With 0 items, the worker is stopped while it starts. It has not reported anything by then, and may not have asked
    the kernel yet to end it with its driver: then it ends as soon as it is continued.
    """
    preparation = start(recipe(tmp_path / "dataset", dump))
    preparation.wait_for(lambda: len([c for c in preparation.process.children() if WORKER_MODULE in c.cmdline()]) == 2)
    preparation.wait_for_items(items)
    worker = preparation.workers[0]
    worker.suspend()
    assert preparation.process.stdout is not None
    for line in preparation.process.stdout:
        if f"worker process {worker.pid}" in line:
            break
    assert "has stood still for" in line
    assert f"the process is stopped; continue it with `kill -CONT {worker.pid}`" in line
    preparation.process.kill()
    if items == 0:
        worker.resume()
    preparation.end()


def by_driver(preparation: Preparation) -> None:
    preparation.process.kill()


def by_worker(preparation: Preparation) -> None:
    preparation.wait_for(lambda: len(preparation.process.children()) == 2)
    preparation.workers[0].kill()


def by_group(preparation: Preparation) -> None:
    os.killpg(preparation.process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_forty_kills_across_the_first_stage_lose_nothing(tmp_path: Path, dump: Path, start: Start) -> None:
    """Drivers, workers and process groups in turn; prints what happened with `pytest -s`."""
    draw = random.Random(5)
    config = recipe(tmp_path / "dataset", dump)
    kept: dict[str, tuple[int, int]] = {}
    items = []
    for number in range(40):
        preparation = start(config)
        preparation.wait_for_items(len(kept) // 2 + draw.randrange(2))
        (by_driver, by_worker, by_group)[number % 3](preparation)
        preparation.end()
        now = preparation.cleaned()
        assert kept.items() <= now.items(), "a finished item was made again"
        kept = now
        items.append(len(now) // 2)
        assert not (preparation.work / "boilerplate.npy").exists(), "the first stage must be longer"
    print(f"cleaned items after each kill: {items}")
    prepare(config)
    whole = recipe(tmp_path / "whole", dump, workers=1)
    prepare(whole)
    assert digests(tmp_path / "dataset") == digests(tmp_path / "whole")
