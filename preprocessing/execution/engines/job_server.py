"""The job server that a runner starts as a process of its own: Flink's, Spark's, Prism.

Beam's wrapper of these processes sets the handler of SIGINT, which Python allows in the main thread only, and stops the
server at Ctrl-C, before the job can be cancelled through it. So the process is started here, in the calling thread and
in a session of its own, which Ctrl-C in a terminal does not reach; and it is stopped after the job's end.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections import deque
from contextlib import suppress
from typing import Any

from configs.errors import UserError
from preprocessing.execution.engines.beam_api import (
    SPARK_JOB_SERVERS,
    PortableOptions,
    PortableRunner,
    SubprocessJobServer,
    beam,
)

_PROCESS_MODULE = "preprocessing.execution.engines.server_process"
_KEPT_LINES = 20  # of a server's output


class JobServer:
    """A job server that runs, or its absence. The runner asks it for its service when the pipeline starts."""

    def __init__(self) -> None:
        self._server: Any = None
        self._service: Any = None

    def start_for(self, pipeline: beam.Pipeline) -> None:
        """Start the server that the pipeline's runner needs, if it needs one.

        Raises `UserError` if it cannot be executed, and what Beam raises if it ends before it listens.
        """
        runner, options = pipeline.runner, pipeline.options
        if not isinstance(runner, PortableRunner) or options.view_as(PortableOptions).job_endpoint:
            return
        wrapper = runner.default_job_server(options)
        server = getattr(wrapper, "_job_server", wrapper)
        if isinstance(server, SubprocessJobServer):
            _detach(server)
        output = _Output(type(server).__name__)
        try:
            self._service = server.start()
        except BaseException as error:
            with suppress(Exception):  # removes its temporary folder, then fails if it has not begun to start
                server.stop()
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise RuntimeError(f"the job server did not start: {output.last() or error}") from error
        self._server = server
        runner.default_job_server = lambda _options: self  # type: ignore[method-assign]

    def start(self) -> Any:
        """Return the service of the running server."""
        return self._service

    def stop(self) -> None:
        """End the server's process, and remove its temporary folder."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            SPARK_JOB_SERVERS.clear()  # a stopped server would start again in a folder that is gone


def _detach(server: SubprocessJobServer) -> None:
    """Make the server's process start in its own session, and end with this process."""
    beams_command = server.subprocess_cmd_and_endpoint

    def command() -> tuple[list[Any], str]:
        argv, endpoint = beams_command()
        if shutil.which(argv[0]) is None:
            fix = "install it, or start a job server yourself and give its address with --job_endpoint=HOST:PORT"
            raise UserError("the runner's job server needs this program", place=argv[0], fix=fix)
        return [sys.executable, "-P", "-m", _PROCESS_MODULE, str(os.getpid()), *argv], endpoint

    server.subprocess_cmd_and_endpoint = command  # type: ignore[method-assign]


class _Output(logging.Handler):
    """The last lines that a job server printed: Beam logs them to a logger named after the server's class."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        log = logging.getLogger(name)
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage().strip())

    def last(self) -> str:
        return next((line for line in reversed(self._lines) if line), "")
