"""Run a test's function in several ranks, which are real processes with torchrun's environment.

    losses = ranks.run(train_some_steps, 2, stage, str(folder))      # the function's results, by rank

The function must be at the top level of a module, and JSON must be able to hold its arguments and result. When a rank
fails, the others are ended within a second, and `RankError` shows the output of all ranks, including tracebacks.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GRACE_S = 1.0  # in which the other ranks can report errors before they are ended


class RankError(Exception):
    """Ranks failed or hung. `exit_codes` is by rank: negative for a signal, None if the rank was still running."""

    def __init__(self, exit_codes: list[int | None], outputs: list[str]) -> None:
        self.exit_codes = exit_codes
        self.outputs = outputs
        super().__init__(
            *(
                f"\n--- rank {rank}, exit code {code}:\n{output}"
                for rank, (code, output) in enumerate(zip(exit_codes, outputs, strict=True))
            )
        )

    def __str__(self) -> str:
        return "".join(self.args)


def run(
    function: Callable[..., Any], world_size: int, *arguments: Any, timeout_s: float = 120, quiet: bool = False
) -> list[Any]:
    """Call `function(*arguments)` in `world_size` ranks. Return its results by rank, or raise `RankError`.

    With `quiet`, a rank that prints anything counts as failed.
    """
    with tempfile.TemporaryDirectory() as name:
        results = [Path(name, f"{rank}.json") for rank in range(world_size)]
        logs = [Path(name, f"{rank}.log") for rank in range(world_size)]
        module = sys.modules[function.__module__].__spec__  # it has the real name of a module that runs as __main__
        assert module is not None
        command = [sys.executable, "-m", __name__, module.name, function.__name__, json.dumps(arguments)]
        port = free_port()
        processes = [
            _start([*command, str(results[rank])], logs[rank], _environment(rank, world_size, port))
            for rank in range(world_size)
        ]
        try:
            exit_codes = _wait(processes, time.monotonic() + timeout_s)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        outputs = [log.read_text(errors="replace") for log in logs]
        if any(code != 0 for code in exit_codes) or (quiet and any(outputs)):
            raise RankError(exit_codes, outputs)
        return [json.loads(result.read_text()) for result in results]


def free_port() -> int:
    """Return a TCP port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    others = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return os.environ | {name: str(value) for name, value in (ranks | others).items()}


def _start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)


def _wait(processes: list[subprocess.Popen[bytes]], deadline: float) -> list[int | None]:
    """Wait until all ranks have ended, or `GRACE_S` after one has failed, or until the deadline."""
    exit_codes = [process.poll() for process in processes]
    while None in exit_codes and time.monotonic() < deadline:
        if any(exit_codes):
            deadline = min(deadline, time.monotonic() + GRACE_S)
        time.sleep(0.02)
        exit_codes = [process.poll() for process in processes]
    return exit_codes


def _be_a_rank(module: str, function: str, arguments: str, result: str) -> None:
    try:
        value = getattr(importlib.import_module(module), function)(*json.loads(arguments))
        Path(result).write_text(json.dumps(value))
    finally:
        if "torch" in sys.modules:  # otherwise there is no process group, and torch need not be imported
            from pretrain.engine.distributed import leave_process_group

            leave_process_group()


if __name__ == "__main__":
    _be_a_rank(*sys.argv[1:])
