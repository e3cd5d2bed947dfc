"""`FlinkRunner`, `SparkRunner` and `PrismRunner` as users name them, with a stand-in for the job server they start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.exit_codes import STOPPED
from configs.recipe import write_recipe
from configs.schema import Recipe
from preprocessing.dataset.manifest import MANIFEST
from preprocessing.documents.progress import Progress
from preprocessing.execution.engines.engine import BeamEngine
from preprocessing.pipeline import prepare
from preprocessing.resuming.parts import GROUPS
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text
from tests.preprocessing.execution.engines.servers import await_port, free_port, running
from tests.preprocessing.execution.engines.stand_ins import PATIENCE_S, StandIn, wait_until


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A `java` that is first on PATH, and a folder for temporary files that no test before has left any in."""
    stand_in = StandIn(tmp_path / "java", "java")
    monkeypatch.setenv("PATH", stand_in.environment["PATH"])
    return stand_in


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    file = tmp_path / "job-server.jar"
    file.touch()
    return file


@pytest.fixture(scope="module")
def pool() -> Iterator[str]:
    """The address of our pool of workers."""
    port = free_port()
    with running("preprocessing.execution.engines.worker_pool", f"--service_port={port}"):
        await_port(port)
        yield f"localhost:{port}"


def test_flink_runner_makes_the_same_bytes(
    tmp_path: Path, corpus: Path, whole: dict[str, str], java: StandIn, jar: Path
) -> None:
    """Its defaults: a Flink inside the job server, and workers inside this process."""
    config = small_config(tmp_path / "dataset", corpus)
    told: list[Progress] = []
    before = signal.getsignal(signal.SIGINT)
    prepare(config, engine=BeamEngine("FlinkRunner", (f"--flink_job_server_jar={jar}",)), progress=told.append)
    assert digests(Path(config.dataset)) == whole
    assert (told[-1].documents, told[-1].groups) == (300, 5)
    assert len(java.starts) > 1  # one for each job
    assert all(words[2:5] == ["-jar", str(jar), "--flink-master"] for words in java.starts)
    assert java.alive() == []
    assert not java.has_cancelled
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow  # as Flink's
def test_spark_runner_makes_the_same_bytes_with_a_worker_pool(
    tmp_path: Path, corpus: Path, whole: dict[str, str], java: StandIn, jar: Path, pool: str
) -> None:
    config = small_config(tmp_path / "dataset", corpus)
    options = ("--spark_master_url=spark://host:7077", f"--spark_job_server_jar={jar}")
    external = ("--environment_type=EXTERNAL", f"--environment_config={pool}")
    prepare(config, engine=BeamEngine("SparkRunner", (*options, *external)))
    assert digests(Path(config.dataset)) == whole
    assert {words[words.index("--spark-master-url") + 1] for words in java.starts} == {"spark://host:7077"}
    assert java.alive() == []


@pytest.mark.slow  # as Flink's
def test_prism_runner_makes_the_same_bytes(tmp_path: Path, corpus: Path, whole: dict[str, str]) -> None:
    prism = StandIn(tmp_path / "prism", "prism")
    config = small_config(tmp_path / "dataset", corpus)
    prepare(config, engine=BeamEngine("PrismRunner", (f"--prism_location={prism.path}",)))
    assert digests(Path(config.dataset)) == whole
    assert prism.starts
    assert prism.alive() == []


@pytest.fixture(scope="module")
def long_corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus of 25 groups and its vocabulary, so that a preparation has one stage."""
    folder = tmp_path_factory.mktemp("long")
    corpus = write_text(folder / "corpus.txt", make_documents(1_500))
    vocabulary = folder / "vocab.txt"
    words = {word.strip(".").lower() for word in corpus.read_text().split()}
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]) + "\n")
    return corpus, vocabulary


class Command:
    """A running `bertrain prepare` on an engine with a stand-in, in a process group of its own."""

    def __init__(self, folder: Path, corpora: tuple[Path, Path], runner: str, *options: str) -> None:
        corpus, vocabulary = corpora
        settings = {"duplicates": "none", "dupe_factor": 30, "vocabulary": {"file": str(vocabulary)}}
        self.config = small_config(folder / "dataset", corpus, **settings)
        self.groups = folder / "dataset" / GROUPS
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        recipe = folder / "recipe.toml"
        write_recipe(Recipe.model_validate({"name": "long", "data": self.config.model_dump()}), recipe)
        words = ["-P", "-m", "launch.cli", "prepare", str(recipe), "--runner", runner, "--", *options]
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )

    def await_group(self) -> None:
        """Wait until a group is finished."""
        wait_until(lambda: self.process.poll() is not None or self.finished(), "a group is finished")
        assert self.process.poll() is None

    def finished(self) -> int:
        """The number of finished groups."""
        return len([*self.groups.glob("*.*.json")])

    def output(self) -> str:
        """What it printed until its end."""
        return self.process.communicate(timeout=PATIENCE_S)[0]


FLINK = pytest.param("FlinkRunner", signal.SIGINT, marks=pytest.mark.slow, id="Flink")
SPARK = pytest.param("SparkRunner", signal.SIGTERM, marks=pytest.mark.slow, id="Spark")


@pytest.mark.parametrize(("runner", "number"), [FLINK, SPARK])
def test_interruption_cancels_the_job_and_leaves_no_process(
    tmp_path: Path,
    long_corpus: tuple[Path, Path],
    java: StandIn,
    jar: Path,
    pool: str,
    runner: str,
    number: signal.Signals,
) -> None:
    """Ctrl-C as a terminal sends it, to all processes of the command; SIGTERM to the command alone."""
    options = [f"--{runner.removesuffix('Runner').lower()}_job_server_jar={jar}"]
    if runner == "SparkRunner":
        options += ["--environment_type=EXTERNAL", f"--environment_config={pool}"]
    command = Command(tmp_path, long_corpus, runner, *options)
    command.await_group()
    (os.killpg if number == signal.SIGINT else os.kill)(command.process.pid, number)
    output = command.output()
    assert command.process.returncode == STOPPED, output
    assert f"stopped by {number.name}" in output
    assert "cancel it there" not in output
    assert "Traceback" not in output  # of a worker that stopped, or of the cancelled job
    assert java.has_cancelled
    assert java.alive() == []
    assert [*command.temporary.glob("beam-temp*")] == []
    assert ("worker_pool" in output) == (runner == "SparkRunner")  # each node needs a pool: here is its command
    assert not (tmp_path / "dataset" / MANIFEST).exists()
    assert 0 < command.finished() < 25
    prepare(command.config)
    reference = command.config.model_copy(update={"dataset": str(tmp_path / "reference")})
    prepare(reference)
    assert digests(tmp_path / "dataset") == digests(tmp_path / "reference")


def test_killed_command_takes_its_job_server_along(
    tmp_path: Path, long_corpus: tuple[Path, Path], java: StandIn, jar: Path
) -> None:
    command = Command(tmp_path, long_corpus, "FlinkRunner", f"--flink_job_server_jar={jar}")
    command.await_group()
    command.process.kill()
    command.output()
    assert java.starts
    assert java.alive() == []


def test_job_server_that_ends_at_once_is_named_with_its_last_line(
    tmp_path: Path, corpus: Path, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho Unsupported class file version; exit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(java.parent), os.environ["PATH"])))
    with pytest.raises(UserError, match="the job server did not start: Unsupported class file version"):
        prepare(
            small_config(tmp_path / "dataset", corpus),
            engine=BeamEngine("FlinkRunner", (f"--flink_job_server_jar={jar}",)),
        )


def test_machine_without_java_is_told(tmp_path: Path, corpus: Path, jar: Path) -> None:
    options = (f"--flink_job_server_jar={jar}", "--job_server_java_launcher=no-such-java")
    with pytest.raises(UserError, match="needs this program") as refused:
        prepare(small_config(tmp_path / "dataset", corpus), engine=BeamEngine("FlinkRunner", options))
    assert refused.value.place == "no-such-java"
    assert "--job_endpoint" in refused.value.fix
