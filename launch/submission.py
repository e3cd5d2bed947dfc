"""`bertrain submit`: the same recipe as a chain of Slurm jobs, under MPI, or on this machine.

Each run's folder gets its resolved recipe and scripts before anything is queued; a dry run touches nothing.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.schema import Recipe
from launch import local, mpi, run_folder, slurm


@dataclass(frozen=True)
class Link:
    """One job of a chain: the script of a run, and its text."""

    recipe: Recipe
    run: Path
    script: str
    text: str

    @property
    def path(self) -> Path:
        """Where the script lies."""
        return self.run / self.script


def chain(recipes: Sequence[Recipe], *, prepares: bool) -> list[Link]:
    """The jobs of these runs, one after the other, each run's data set before it if `prepares`. A dry run's end.

    Raises `UserError` for two runs of one name, and for what no script can say.
    """
    names = [recipe.name for recipe in recipes]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise UserError(f"two runs are called {doubled!r}", place="--then", mend="give each recipe a name of its own")
    return list(_links(recipes, prepares))


def submit(links: Sequence[Link]) -> Iterator[str]:
    """Queue the chain, each job after the one before has succeeded; tells of each.

    `UserError` when one of the runs is in the queue or trains already: two jobs would overwrite each other.
    """
    jobs = slurm.queue()
    for link in links:
        if active := slurm.jobs_of(link.run, jobs):
            cause = f"job {active[0].id} of this run is {active[0].state.lower()}"
            raise UserError(cause, place=str(link.run), mend="`bertrain stop` it, or wait for its end")
    for link in links:
        _write(link)
    after: list[str] = []
    for link in links:
        job = slurm.submit(link.path, after)
        yield f"job {job}: {link.path}" + (f" after job {after[0]}" if after else "")
        after = [job]


def dry_run(links: Sequence[Link]) -> Iterator[str]:
    """What `submit` would write and run, line by line."""
    for link in links:
        yield f"==> {link.path}"
        yield link.text
    for number, link in enumerate(links):
        yield shlex.join(slurm.submit_argv(link.path, [f"JOB{number}"] if number else []))


def run_mpi(recipe: Recipe, *, dry_run: bool) -> int:
    """Run under mpirun, here and now; the exit code as `train` has it."""
    if dry_run:
        _print(mpi.plan(recipe, _run_of(recipe), 1, as_root=os.getuid() == 0))
        return 0
    with run_folder.opened(recipe, "auto") as run:
        return mpi.run(recipe, run)


def run_local(recipe: Recipe, *, dry_run: bool) -> int:
    """Run on this machine, as `train` does."""
    arguments = ["--resume", "auto"]
    if dry_run:
        for command in local.plan(recipe, _run_of(recipe), arguments, local.this_machine()):
            _print(command.argv)
        return 0
    with run_folder.opened(recipe, "auto") as run:
        return local.run(local.plan(recipe, run, arguments, local.this_machine()))


def _print(argv: Sequence[str]) -> None:
    sys.stdout.write(shlex.join(argv) + "\n")


def _links(recipes: Sequence[Recipe], prepares: bool) -> Iterator[Link]:
    for recipe in recipes:
        run = _run_of(recipe)
        for script in (slurm.PREPARE_SCRIPT, slurm.SCRIPT) if prepares else (slurm.SCRIPT,):
            text = slurm.plan(recipe, run, folder=Path.cwd(), python=sys.executable, script=script)
            yield Link(recipe, run, script, text)


def _write(link: Link) -> None:
    before = os.umask(0o077 if link.recipe.cluster.private else os.umask(0))
    try:
        with run_folder.opened(link.recipe, "auto") as run:
            slurm.write_script(link.text, run, link.script)
    finally:
        os.umask(before)


def _run_of(recipe: Recipe) -> Path:
    return (Path(recipe.runs) / recipe.name).absolute()
