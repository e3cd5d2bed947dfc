"""Worker pools as they go wrong on clusters: another Python, another disk, nobody there, an old pool at the port."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from configs.errors import UserError
from preprocessing.execution.engines.engine import BeamEngine
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import small_config
from tests.preprocessing.execution.engines.servers import await_file, await_port, free_port, running

POOL = "preprocessing.execution.engines.worker_pool"
BEAMS_POOL = "apache_beam.runners.worker.worker_pool_main"

# A Python that Beam is installed in and this package is not: it hides what the tests' environment has.
HIDING = """
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("preprocessing", "configs"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Beam's job service in Python; gives its address."""
    folder = tmp_path_factory.mktemp("job-service")
    argv = ("--port_file", str(folder / "port"), "--staging_dir", str(folder / "staging"))
    with running("apache_beam.runners.portability.local_job_service_main", *argv):
        yield f"localhost:{await_file(folder / 'port')}"


@contextmanager
def pool(module: str, folder: Path | None = None, **variables: str) -> Iterator[int]:
    """A pool of workers in a folder, with changed variables; gives its port."""
    port = free_port()
    with running(module, f"--service_port={port}", folder=folder, **variables):
        await_port(port)
        yield port


def engine(endpoint: str, port: int) -> BeamEngine:
    external = ("--environment_type=EXTERNAL", f"--environment_config=localhost:{port}")
    return BeamEngine("PortableRunner", (f"--job_endpoint={endpoint}", *external))


def test_worker_without_this_package_is_named_in_one_line(tmp_path: Path, corpus: Path, endpoint: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    with pool(BEAMS_POOL, PYTHONPATH=str(tmp_path)) as port, pytest.raises(UserError) as refused:
        prepare(small_config(tmp_path / "dataset", corpus), engine=engine(endpoint, port))
    message = str(refused.value)
    assert "cannot import" in message
    assert f"{sys.executable} -P -m {POOL} --service_port={port}" in message
    assert "\n" not in message


def test_worker_that_sees_another_folder_is_named_in_one_line(
    tmp_path: Path, corpus: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name, two folders: the name goes through each process's working directory."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "node").mkdir()
    monkeypatch.chdir(tmp_path / "driver")
    config = small_config(Path("/proc/self/cwd/dataset"), corpus)
    with (
        pool(POOL, tmp_path / "node") as port,
        pytest.raises(UserError, match="sees another folder under this name") as refused,
    ):
        prepare(config, engine=engine(endpoint, port))
    assert "/proc/self/cwd/dataset" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [*(tmp_path / "node").iterdir()] == []


def test_missing_pool_is_named_with_its_command(tmp_path: Path, corpus: Path, endpoint: str) -> None:
    port = free_port()
    with pytest.raises(UserError, match=f"no worker could be started at localhost:{port}") as refused:
        prepare(small_config(tmp_path / "dataset", corpus), engine=engine(endpoint, port))
    assert f"{sys.executable} -P -m {POOL} --service_port={port}" in refused.value.fix


def test_second_pool_at_a_port_is_refused() -> None:
    with pool(POOL) as port:
        second = subprocess.run(
            [sys.executable, "-P", "-m", POOL, f"--service_port={port}"], capture_output=True, text=True, timeout=60
        )
        with pool(POOL) as other:  # at another port
            assert other != port
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: {port}: the port is not free")


def test_python_without_its_name_is_refused(tmp_path: Path) -> None:
    """Beam starts `python`; some systems have `python3` only."""
    program = """
import sys
sys.executable = sys.argv[1]
from preprocessing.execution.engines import worker_pool
worker_pool.serve(1)
"""
    argv = [sys.executable, "-c", program, str(tmp_path / "python3")]
    assert "has no `python`" in subprocess.run(argv, capture_output=True, text=True, timeout=60).stderr


def test_sigterm_ends_the_pool_with_its_workers() -> None:
    """The worker is asked for as an engine asks, at a port where no engine waits for it."""
    port = free_port()
    with running(POOL, f"--service_port={port}") as server, grpc.insecure_channel(f"localhost:{port}") as channel:
        await_port(port)
        request = beam_fn_api_pb2.StartWorkerRequest(worker_id="one")
        request.control_endpoint.url = f"localhost:{free_port()}"
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)  # type: ignore[no-untyped-call]
        assert not stub.StartWorker(request).error
        workers = server.children()
        assert len(workers) == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 128 + signal.SIGTERM
        assert psutil.wait_procs(workers, timeout=60)[1] == []
