"""Starts trainings at a fraction of a start's cost: `python -m tests.chaos.zygote DATASET`.

It imports torch, DeepSpeed and the trainer once. For each line on standard input, the folder of a run, it forks a
launcher: a real `Supervisor` of the ranks that `plan_ranks` names. These are forks too, where `bertrain train`
would execute a new Python. It prints the launcher's process number, and its exit code when it has ended.
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
    """What the supervisor uses of `subprocess.Popen`: a rank in a fork of this process."""

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
        """Until it has ended: its exit code, or minus the signal."""
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
    """Train as `bertrain train` does, once the run's folder is made; returns the exit code."""
    output = os.open(run / "launcher.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    vars(subprocess)["Popen"] = ForkedRank
    machine = Machine(gpus=0, cores=2)
    return local.run_ranks(local.plan_ranks(load_recipe(run / "recipe.toml"), run, ["--resume", "auto"], machine))


def warm(dataset: str) -> None:
    """Import all that a rank does, and compile what it compiles."""
    os.environ |= {"DS_ACCELERATOR": "cpu"}
    import deepspeed  # noqa: F401 - imported for the forks
    import torch._dynamo  # torch's optimizers bring it along
    import torch.utils.tensorboard  # noqa: F401 - likewise

    import pretrain.trainer  # noqa: F401 - likewise
    from tests.chaos.training import loader_of, recipe_of

    loader_of(recipe_of(dataset, Path())).step(0, 1)


def main() -> None:
    """Serve until standard input ends."""
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
