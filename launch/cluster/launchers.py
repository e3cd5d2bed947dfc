"""The launchers with which `bertrain submit --to NAME` starts ranks immediately and waits for their end.

To add one, write its module and add its record to `LAUNCHERS`. Slurm is not in this table, because it queues a chain of
jobs (see submission.py). `bertrain --help` reads the names here, so functions import the modules that they need.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Recipe


@dataclass(frozen=True)
class Launcher:
    """One way to start the ranks of a run."""

    argvs: Callable[[Recipe, Path], Iterable[Sequence[str]]]  # its commands for a run folder; writes nothing
    train: Callable[[Recipe], int]  # opens the run and trains; returns the exit code of `bertrain train`


def _mpirun_argv(recipe: Recipe, run: Path) -> Iterable[Sequence[str]]:
    from launch.cluster import mpi

    return [mpi.mpirun_argv(recipe, run, 1, as_root=os.getuid() == 0)]


def _train_under_mpi(recipe: Recipe) -> int:
    from launch.cluster import mpi
    from launch.ranks import open_run

    with open_run(recipe) as run:
        return mpi.run_under_mpi(recipe, run)


def _local_argvs(recipe: Recipe, run: Path) -> Iterable[Sequence[str]]:
    from launch.ranks import plan_ranks, this_machine

    return [command.argv for command in plan_ranks(recipe, run, ["--resume", "auto"], this_machine())]


def _train_here(recipe: Recipe) -> int:
    from launch.ranks import train_here

    return train_here(recipe, "auto")


LAUNCHERS = {
    "mpi": Launcher(_mpirun_argv, _train_under_mpi),
    "local": Launcher(_local_argvs, _train_here),
}
SLURM = "slurm"
TARGETS = (SLURM, *LAUNCHERS)  # the values of --to


def find_launcher(name: str) -> Launcher:
    """Return the launcher of this name. Raise `UserError` with the known names if there is none."""
    if name not in LAUNCHERS:
        raise UserError(f"there is no launcher {name!r}", place="--to", fix=f"choose one of {', '.join(TARGETS)}")
    return LAUNCHERS[name]


def describe_launch(launcher: Launcher, recipe: Recipe) -> str:
    """Return the commands that a launcher runs, one per line."""
    run = (Path(recipe.runs) / recipe.name).absolute()
    return "".join(f"{shlex.join(argv)}\n" for argv in launcher.argvs(recipe, run))
