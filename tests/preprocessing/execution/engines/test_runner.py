"""Real processes: whatever ends a preparation leaves no process behind, and a rerun ends in the same bytes."""

from __future__ import annotations

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
from preprocessing.dataset.manifest import MANIFEST, SHARDS
from preprocessing.pipeline import prepare
from preprocessing.resuming.parts import GROUPS
from preprocessing.vocabulary.training import train_vocabulary
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

PATIENCE_S = 60  # a second is enough where the machine does nothing else; what hangs would hang for ever
FILES_A_GROUP = 31  # 30 passes and the side file, at least

# Prepares what the recipe on its command line says; prints a line whenever more groups are finished, or its UserError.
PROGRAM = """
import sys
from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.execution import WorkerKilledError
from preprocessing.pipeline import prepare
try:
    prepare(DataConfig.model_validate_json(sys.argv[1]), progress=lambda progress: print(progress.groups, flush=True))
except (UserError, WorkerKilledError) as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("corpus") / "corpus.txt", make_documents(1_500))


@pytest.fixture(scope="module")
def vocabulary(corpus: Path) -> Path:
    file = corpus.parent / "vocab.txt"
    train_vocabulary([corpus.read_text()], small_config(file, corpus).vocabulary).write(file)
    return file


def recipe(dataset: Path, corpus: Path, vocabulary: Path, workers: int) -> DataConfig:
    """25 groups of 30 passes: long enough to be interrupted anywhere."""
    return small_config(dataset, corpus, workers=workers, dupe_factor=30, vocabulary={"file": str(vocabulary)})


@pytest.fixture(scope="module")
def whole(corpus: Path, vocabulary: Path) -> dict[str, str]:
    """The files of an uninterrupted preparation."""
    config = recipe(corpus.parent / "whole", corpus, vocabulary, 1)
    prepare(config)
    return digests(Path(config.dataset))


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or only waits for its new parent to notice."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def finished(dataset: Path) -> dict[Path, tuple[int, int]]:
    """The files of all finished groups, each with its inode and time: those of a file made again are others."""
    groups = list((dataset / GROUPS).glob("*.*.json"))
    shards = [shard for group in groups for shard in (dataset / SHARDS).glob(f"{group.stem}-*.arrow")]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in (*groups, *shards)}


class Preparation:
    """A running one, and the worker processes it has started."""

    def __init__(self, config: DataConfig) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, config.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.workers: list[psutil.Process] = []

    def wait_for_groups(self, count: int) -> bool:
        """Return when so many groups are finished; False if it ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if int(line) >= count:
                self.workers = psutil.Process(self.process.pid).children(recursive=True)
                return True
        return False

    def wait_for_end(self) -> str:
        """What it wrote on stderr; fails if it or a worker lives on."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        _, alive = psutil.wait_procs(self.workers, timeout=PATIENCE_S)
        assert [process for process in alive if not has_ended(process)] == []
        return str(errors)

    def end(self) -> None:
        """Kill the driver, and see its workers go."""
        self.process.kill()
        psutil.wait_procs(self.workers, timeout=10)
        self.process.communicate()


Start = Callable[[int], tuple[Preparation, DataConfig]]


@pytest.fixture
def start(tmp_path: Path, corpus: Path, vocabulary: Path) -> Iterator[Start]:
    """Starts the preparation of one data set with so many workers; ends what is left of it."""
    started: list[Preparation] = []

    def begin(workers: int) -> tuple[Preparation, DataConfig]:
        config = recipe(tmp_path / "dataset", corpus, vocabulary, workers)
        started.append(Preparation(config))
        return started[-1], config

    yield begin
    for preparation in started:
        preparation.end()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL], ids=lambda ended_by: ended_by.name)
def test_all_processes_end_and_a_rerun_makes_only_what_is_missing(
    start: Start, whole: dict[str, str], workers: int, ended_by: signal.Signals
) -> None:
    preparation, config = start(workers)
    assert preparation.wait_for_groups(2)
    assert len(preparation.workers) == (2 if workers == 2 else 0)
    preparation.process.send_signal(ended_by)
    preparation.wait_for_end()
    assert preparation.process.returncode == -ended_by
    dataset = Path(config.dataset)
    assert not (dataset / MANIFEST).exists()
    if ended_by == signal.SIGINT:
        assert list(dataset.rglob("*.partial")) == []
    kept = finished(dataset)
    assert len(kept) >= 2 * FILES_A_GROUP
    prepare(config.model_copy(update={"workers": 1}))
    assert digests(dataset) == whole
    assert kept.items() <= finished(dataset).items()


def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_changes_nothing(start: Start) -> None:
    preparation, _ = start(2)
    assert preparation.wait_for_groups(1)
    for worker in preparation.workers:
        worker.send_signal(signal.SIGINT)
    assert preparation.wait_for_groups(4)
    preparation.process.send_signal(signal.SIGINT)
    preparation.wait_for_end()


def test_killed_worker_is_told_and_nothing_waits_for_it(start: Start, whole: dict[str, str]) -> None:
    preparation, config = start(2)
    assert preparation.wait_for_groups(1)
    preparation.workers[0].kill()
    message = preparation.wait_for_end()
    assert preparation.process.returncode == 1
    assert message.startswith("a preparation worker was killed (Worker subprocess exited with return code -9)")
    assert message.count("\n") == 1
    kept = finished(Path(config.dataset))
    assert len(kept) >= FILES_A_GROUP
    prepare(config.model_copy(update={"workers": 1}))
    assert digests(Path(config.dataset)) == whole
    assert kept.items() <= finished(Path(config.dataset)).items()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_at_any_time(start: Start, whole: dict[str, str], seed: int) -> None:
    moments = random.Random(seed)
    kept: dict[Path, tuple[int, int]] = {}
    for groups in range(0, 25, 2):
        preparation, config = start(1 + moments.randrange(2))
        if not preparation.wait_for_groups(groups):
            break
        time.sleep(moments.uniform(0.0, 0.4))
        preparation.process.kill()
        preparation.wait_for_end()
        assert kept.items() <= finished(Path(config.dataset)).items()
        kept = finished(Path(config.dataset))
    prepare(config)
    assert digests(Path(config.dataset)) == whole
    assert kept.items() <= finished(Path(config.dataset)).items()


def test_driver_that_is_killed_while_its_workers_start_takes_them_along(start: Start) -> None:
    preparation, _ = start(2)
    assert preparation.wait_for_groups(0)
    while len(workers := psutil.Process(preparation.process.pid).children(recursive=True)) < 2:
        time.sleep(0.01)
    preparation.workers = workers
    preparation.process.kill()
    preparation.wait_for_end()
