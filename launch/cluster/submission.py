"""`bertrain submit --to slurm`: recipes as a chain of Slurm jobs.

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
from launch.cluster import slurm
from launch.cluster.batch_script import EXPORT, PREPARE, TRAIN, JobStage, Site, render, write
from launch.ranks import open_run


@dataclass(frozen=True)
class Link:
    """One job of a chain: a stage of a run, its script's text, and the places in the chain of those it waits for."""

    recipe: Recipe
    run: Path
    stage: JobStage
    text: str
    after: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """Where the script lies."""
        return self.run / self.stage.script


def plan_chain(
    recipes: Sequence[Recipe], *, prepares: bool = False, shares: int = 1, export_to: Path | None = None
) -> list[Link]:
    """The jobs of these runs: each trains after the one before, the last is exported if `export_to` names a folder.

    If it `prepares`, each run has its data set made first, in so many `shares`; these jobs follow one another (a later
    one may need an earlier one's vocabulary), beside the training. Raises `UserError` for two runs of one name, and for
    what no script can say.
    """
    names = [recipe.name for recipe in recipes]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise UserError(f"two runs are called {doubled!r}", place="--then", fix="give each recipe a name of its own")
    links: list[Link] = []
    last: dict[JobStage, int] = {}  # the newest job of each stage, which those that follow may wait for

    def add(recipe: Recipe, stage: JobStage, *waits_for: JobStage, shares: int = 1) -> None:
        run, site = _run_of(recipe), Site(Path.cwd(), sys.executable)
        output = export_to.absolute() if export_to and stage is EXPORT else None
        text = render(recipe, run, site, stage, shares=shares, output=output)
        links.append(Link(recipe, run, stage, text, tuple(last[other] for other in waits_for if other in last)))
        last[stage] = len(links) - 1

    for recipe in recipes:
        if prepares:
            add(recipe, PREPARE, PREPARE, shares=shares)
        add(recipe, TRAIN, PREPARE, TRAIN)
    if export_to:
        add(recipes[-1], EXPORT, TRAIN)
    return links


def submit_chain(links: Sequence[Link]) -> Iterator[str]:
    """Queue the chain, each job after those that it waits for have succeeded; tells of each.

    `UserError` when one of the runs is in the queue or trains already: two jobs would overwrite each other.
    """
    queued = slurm.queued_jobs()
    for link in links:
        if active := slurm.jobs_of(link.run, queued):
            cause = f"job {active[0].id} of this run is {active[0].state.lower()}"
            raise UserError(cause, place=str(link.run), fix="`bertrain stop` it, or wait for its end")
    for link in links:
        _write(link)
    jobs: list[str] = []
    for link in links:
        after = [jobs[place] for place in link.after]
        jobs.append(slurm.submit_script(link.path, after))
        yield f"job {jobs[-1]}: {link.path}" + (f" after job {' and '.join(after)}" if after else "")


def describe_chain(links: Sequence[Link]) -> Iterator[str]:
    """What `submit` would write and run, line by line."""
    for link in links:
        yield f"==> {link.path}"
        yield link.text
    for link in links:
        yield shlex.join(slurm.submit_argv(link.path, [f"JOB{place + 1}" for place in link.after]))


def _write(link: Link) -> None:
    before = os.umask(0o077 if link.recipe.cluster.private else os.umask(0))
    try:
        with open_run(link.recipe, "auto") as run:
            write(link.text, run, link.stage)
    finally:
        os.umask(before)


def _run_of(recipe: Recipe) -> Path:
    return (Path(recipe.runs) / recipe.name).absolute()
