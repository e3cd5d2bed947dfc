"""Start trainings at a fraction of the usual start-up time: `python -m tests.chaos.zygote DATASET`.

The process imports torch, DeepSpeed and the trainer once. Each line on standard input is the folder of a run. For
each, it forks a launcher: a real `Supervisor` of the ranks that `plan_ranks` returns. The ranks are forks too, where
`bertrain train` executes a new Python. It prints the launcher's process ID, and its exit code when it has ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from configs.exit_codes import STOP_SIGNALS
from configs.recipe import load_recipe
from launch.ranks import local
from launch.ranks.local import Machine


class ForkedRank:
    """A rank in a fork of this process, with the part of `subprocess.Popen` that the supervisor uses."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str],
        stdin: int,
        stdout: IO[bytes],
        stderr: int,
        start_new_session: bool,
        preexec_fn: Callable[[], None],
    ) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            preexec_fn()
            _become_rank(argv, env, stdout)

    def wait(self) -> int:
        """Wait for the end and return the exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _become_rank(argv: Sequence[str], env: dict[str, str], output: IO[bytes]) -> None:
    from pretrain.__main__ import main

    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(env)
    code = 1
    try:
        code = main(list(argv[argv.index("pretrain") + 1 :]))
    except BaseException:  # noqa: BLE001 - as the interpreter itself would
        traceback.print_exc()
    os._exit(code)


def launch(run: Path) -> int:
    """Train like `bertrain train` after the run's folder is made, and return the exit code."""
    output = os.open(run / "launcher.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    vars(subprocess)["Popen"] = ForkedRank
    machine = Machine(gpus=0, cores=2)
    return local.run_ranks(local.plan_ranks(load_recipe(run / "recipe.toml"), run, ["--resume", "auto"], machine))


def warm(dataset: str) -> None:
    """Import and compile all that a rank uses."""
    os.environ |= {"DS_ACCELERATOR": "cpu"}
    import deepspeed  # noqa: F401 - imported for the forks
    import torch._dynamo  # torch's optimizers import it
    import torch.utils.tensorboard  # noqa: F401 - likewise

    import pretrain.trainer  # noqa: F401 - likewise
    from tests.chaos.training import loader_of, recipe_of

    loader_of(recipe_of(dataset, Path())).step(0, 1)


def main() -> None:
    """Handle lines until standard input ends."""
    warm(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(launch(Path(line.rstrip("\n"))))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
