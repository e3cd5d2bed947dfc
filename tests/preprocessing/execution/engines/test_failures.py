"""The text that engines pass on is turned into one line with the cause."""

from __future__ import annotations

import sys

import pytest

from configs.errors import UserError
from preprocessing.execution.engines.engine import BeamEngine
from preprocessing.execution.engines.failures import explained

POOL = BeamEngine("FlinkRunner", ("--environment_type=EXTERNAL", "--environment_config=node:50123"))
TRACEBACK = """Pipeline job-1 failed in state FAILED: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in process
{last}

"""
GRPC = """<_InactiveRpcError of RPC that terminated with:
	status = StatusCode.UNAVAILABLE
	details = "failed to connect to all addresses"
>"""


@pytest.mark.parametrize(
    ("engine", "text", "line"),
    [
        (POOL, TRACEBACK.format(last="configs.errors.UserError: a.gz: the file is truncated. Fetch it again."),
         "a.gz: the file is truncated. Fetch it again."),
        (POOL, TRACEBACK.format(last="ModuleNotFoundError: No module named 'preprocessing'"),
         "FlinkRunner: a worker of the engine cannot import preprocessing: its Python is another one than this. Stop"),
        (BeamEngine("x.DaskRunner"), "No module named 'preprocessing'", "x.DaskRunner: a worker of the engine cannot"),
        (POOL, "java.lang.IllegalStateException: No client connected within timeout",
         "FlinkRunner: no worker could be started at node:50123."),
        (POOL, TRACEBACK.format(last="MemoryError: 8 GB"), "FlinkRunner: the runner failed: MemoryError: 8 GB."),
        (BeamEngine("SparkRunner"), GRPC, "SparkRunner: the runner failed: failed to connect to all addresses."),
        (BeamEngine("SparkRunner"), "", "SparkRunner: the runner failed: RuntimeError."),
    ],
)  # fmt: skip
def test_failure_is_told_in_one_line(engine: BeamEngine, text: str, line: str) -> None:
    told = str(explained(RuntimeError(text), engine))
    assert told.lower().startswith(line.lower())
    assert "\n" not in told


def test_pool_is_started_with_this_python() -> None:
    command = f"{sys.executable} -P -m preprocessing.execution.engines.worker_pool --service_port=50123"
    assert POOL.pool_command == command
    assert command in explained(RuntimeError("No module named 'configs'"), POOL).fix
    assert BeamEngine("FlinkRunner").pool_command == ""
    assert BeamEngine().pool_command == ""


def test_error_of_the_user_stays_as_it_is() -> None:
    error = UserError("cause", place="place", fix="fix")
    assert explained(error, POOL) is error
