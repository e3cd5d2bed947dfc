"""The same bytes from any engine: Beam's job service, a Dask cluster; and errors reach the user as they were."""

from __future__ import annotations

import gzip
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from configs.errors import UserError
from preprocessing.documents.progress import Progress
from preprocessing.execution.engines.engine import BeamEngine
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import digests, small_config
from tests.preprocessing.execution.engines.servers import await_file, await_port, free_port, running

DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"


@pytest.fixture(scope="module")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Beam's job service in Python and a pool of workers; gives the options that lead to them."""
    folder = tmp_path_factory.mktemp("job-server")
    port, pool = folder / "port", free_port()
    argv = ("--port_file", str(port), "--staging_dir", str(folder / "staging"))
    with (
        running("apache_beam.runners.portability.local_job_service_main", *argv),
        running("preprocessing.execution.engines.worker_pool", f"--service_port={pool}", PATH="/usr/bin:/bin"),
    ):
        await_port(pool)
        external = ("--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}")
        yield (f"--job_endpoint=localhost:{await_file(port)}", *external)


@contextmanager
def dask_scheduler(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A scheduler; gives its file, and the command of a worker."""
    file = folder / "scheduler.json"
    at = ("--scheduler-file", str(file), "--no-dashboard")
    with running("distributed.cli.dask_scheduler", *at, "--port=0"):
        await_file(file)
        local = f"--local-directory={folder}"
        yield str(file), ("distributed.cli.dask_worker", *at, "--nthreads=1", "--no-nanny", local)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[psutil.Popen]]]:
    """A scheduler and two workers, each a process; gives the scheduler's file and the workers."""
    pytest.importorskip("distributed")
    with (
        dask_scheduler(tmp_path_factory.mktemp("dask")) as (file, worker),
        running(*worker) as first,
        running(*worker) as second,
    ):
        yield file, [first, second]


def test_portable_job_service_makes_the_same_bytes(
    tmp_path: Path, corpus: Path, whole: dict[str, str], job_server: tuple[str, ...]
) -> None:
    """Three processes: this one, Beam's job service, and a pool of workers as on a node of Flink's or Spark's."""
    config = small_config(tmp_path / "dataset", corpus)
    prepare(config, engine=BeamEngine("PortableRunner", job_server))
    assert digests(Path(config.dataset)) == whole


def test_two_dask_workers_make_the_same_bytes(
    tmp_path: Path, corpus: Path, whole: dict[str, str], dask: tuple[str, list[psutil.Popen]]
) -> None:
    config = small_config(tmp_path / "dataset", corpus)
    told: list[Progress] = []
    prepare(config, engine=BeamEngine(DASK, (f"--dask_scheduler_file={dask[0]}",)), progress=told.append)
    assert digests(Path(config.dataset)) == whole
    assert (told[-1].documents, told[-1].groups) == (300, 5)


@pytest.mark.slow  # what the tests above do with exact duplicates
def test_near_duplicates_and_boilerplate_are_the_same_on_both(
    tmp_path: Path, corpus: Path, job_server: tuple[str, ...], dask: tuple[str, list[psutil.Popen]]
) -> None:
    documents = corpus.read_text().split("\n\n")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(f"Home\n{text}" for text in documents))
    (folder / "b.txt").write_text("\n\n".join(f"Home\n{text} The end." for text in documents[::3]))
    asked = {"duplicates": "near", "boilerplate_documents": 100}
    here = prepare(small_config(tmp_path / "here", folder, **asked))
    assert here.drops["near_duplicate"] > 50
    assert here.drops["boilerplate_line"] > 200
    engines = [BeamEngine("PortableRunner", job_server), BeamEngine(DASK, (f"--dask_scheduler_file={dask[0]}",))]
    for number, engine in enumerate(engines):
        prepare(small_config(tmp_path / str(number), folder, **asked), engine=engine)
        assert digests(tmp_path / str(number)) == digests(tmp_path / "here")


def test_error_of_a_dask_worker_is_the_original_one(
    tmp_path: Path, corpus: Path, dask: tuple[str, list[psutil.Popen]]
) -> None:
    bad = tmp_path / "b.txt.gz"
    bad.write_bytes(gzip.compress(corpus.read_bytes())[:-100])
    with pytest.raises(UserError, match="truncated") as raised:
        prepare(
            small_config(tmp_path / "dataset", corpus, bad),
            engine=BeamEngine(DASK, (f"--dask_scheduler_file={dask[0]}",)),
        )
    assert (raised.value.place, raised.value.fix) == (str(bad), "fetch it again")
    assert not (tmp_path / "dataset" / "manifest.json").exists()  # parts of the other file can be finished


def test_killed_dask_worker_is_made_up_for_by_the_other(
    tmp_path: Path, corpus: Path, whole: dict[str, str], dask: tuple[str, list[psutil.Popen]]
) -> None:
    """Comes last: the cluster has one worker less after it."""

    def kill(progress: Progress) -> None:
        if progress.stage == "groups":
            dask[1][0].kill()

    config = small_config(tmp_path / "dataset", corpus)
    prepare(config, engine=BeamEngine(DASK, (f"--dask_scheduler_file={dask[0]}",)), progress=kill)
    assert dask[1][0].wait(60) == -signal.SIGKILL
    assert digests(Path(config.dataset)) == whole


def test_dask_worker_that_joins_late_does_the_work_of_a_killed_one(
    tmp_path: Path, corpus: Path, whole: dict[str, str]
) -> None:
    """The last stage has no worker when it begins: the only one is killed, and another one joins."""
    pytest.importorskip("distributed")
    with dask_scheduler(tmp_path) as (file, worker), running(*worker) as first, ExitStack() as later:

        def replace(progress: Progress) -> None:
            if progress.stage == "groups" and first.is_running():
                first.kill()
                first.wait(60)
                later.enter_context(running(*worker))

        config = small_config(tmp_path / "dataset", corpus)
        prepare(config, engine=BeamEngine(DASK, (f"--dask_scheduler_file={file}",)), progress=replace)
        assert not first.is_running()
    assert digests(Path(config.dataset)) == whole


@pytest.mark.parametrize(
    ("engine", "cause"),
    [
        (BeamEngine("NoSuchRunner"), "Unexpected pipeline runner: NoSuchRunner"),
        (BeamEngine("no.such.module.Runner"), "No module named 'no'"),
        (BeamEngine("", ("--dask_npartitions=2",)), "runner options without a runner"),
        (BeamEngine(DASK, ("--dask_npartitions=x",)), "argument --dask_npartitions: invalid int value: 'x'"),
        (BeamEngine("PortableRunner", ("--template_location=gs://b/t",)), "it cannot be a template"),
    ],
)
def test_runner_that_is_none_is_refused_and_leaves_nothing(
    tmp_path: Path, corpus: Path, engine: BeamEngine, cause: str
) -> None:
    with pytest.raises(UserError, match=cause):
        prepare(small_config(tmp_path / "dataset", corpus), engine=engine)
    assert not (tmp_path / "dataset").exists()


def test_dataflow_takes_its_options(tmp_path: Path) -> None:
    """As the documentation names them. A job needs Google's services, which no test has."""
    options = ("--project=project", "--region=europe-west1", "--temp_location=gs://bucket/tmp")
    pipeline = BeamEngine("DataflowRunner", (*options, "--sdk_container_image=IMAGE")).pipeline(1)
    taken = pipeline.options.get_all_options(drop_default=True)
    assert {f"--{name}={taken[name]}" for name in ("project", "region", "temp_location")} == set(options)
    assert taken["sdk_container_image"] == "IMAGE"
    with pytest.raises(UserError, match="it cannot be a template"):
        BeamEngine("DataflowRunner", (*options, "--template_location=gs://bucket/template")).pipeline(1)


def test_runner_that_cannot_be_reached_is_told(tmp_path: Path, corpus: Path) -> None:
    options = (f"--job_endpoint=localhost:{free_port()}", "--environment_type=LOOPBACK", "--job_server_timeout=1")
    with pytest.raises(UserError, match="the runner failed"):
        prepare(small_config(tmp_path / "dataset", corpus), engine=BeamEngine("PortableRunner", options))
