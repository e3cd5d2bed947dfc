"""`bertrain submit --to slurm`: submit recipes as a chain of Slurm jobs.

Writes the resolved recipes and scripts to the run folders before it queues any job. A dry run writes nothing.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import UserError
from configs.run_layout import STOP
from configs.schema import Recipe
from launch.cluster import slurm
from launch.cluster.batch_script import EXPORT, PREPARE, TRAIN, JobStage, Site, network_variables, render, write
from launch.ranks import open_run


@dataclass(frozen=True)
class Link:
    """One job of a chain: a stage of a run, the text of its script, and the indices of the jobs it waits for."""

    recipe: Recipe
    run: Path
    stage: JobStage
    text: str
    after: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """Path of the script."""
        return self.run / self.stage.script


def plan_sweep(recipes: Sequence[Recipe], *, prepares: bool = False, shares: int = 1) -> list[Link]:
    """Return the jobs of runs that share a data set: it is prepared first with `prepares`, then all train."""
    first, *others = recipes
    links = plan_chain([first], prepares=prepares, shares=shares)
    for other in others:
        (link,) = plan_chain([other])
        links.append(replace(link, after=(0,) * prepares))
    return links


def plan_chain(
    recipes: Sequence[Recipe], *, prepares: bool = False, shares: int = 1, export_to: Path | None = None
) -> list[Link]:
    """Return the jobs of these runs. Each run trains after the previous one; `export_to` receives the last one.

    With `prepares`, a job prepares each run's data set first, in `shares` shares. The preparations run one after the
    other, because a later one can need an earlier one's vocabulary, and in parallel to training. Raises `UserError` if
    two runs have the same name, or for a path that a script cannot hold.
    """
    names = [recipe.name for recipe in recipes]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate:
        raise UserError(f"two runs have the name {duplicate!r}", place="--then", fix="give each recipe another name")
    links: list[Link] = []
    last: dict[JobStage, int] = {}  # the latest job of each stage, for which later jobs can wait

    def add(recipe: Recipe, stage: JobStage, *waits_for: JobStage, shares: int = 1) -> None:
        run, site = _run_of(recipe), Site(Path.cwd(), sys.executable, network_variables(os.environ))
        output = export_to.absolute() if export_to and stage is EXPORT else None
        cores = 0 if recipe.cluster.cpu_threads else slurm.node_cores(recipe.cluster)
        text = render(recipe, run, site, stage, shares=shares, output=output, cores=cores)
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
    """Queue the chain, each job with its dependencies, and yield a line for each.

    Raises `UserError` if one of the runs is queued or running already, because two jobs would overwrite each other.
    """
    queued = slurm.queued_jobs()
    for link in links:
        if active := slurm.jobs_of(link.run, queued):
            cause = f"job {active[0].id} of this run is {active[0].state.lower()}"
            raise UserError(cause, place=str(link.run), fix="stop it with `bertrain stop`, or wait until it ends")
    for link in links:
        _write(link)
    jobs: list[str] = []
    for link in links:
        after = [jobs[place] for place in link.after]
        jobs.append(slurm.submit_script(link.path, after, _trained_before(link, links)))
        yield f"job {jobs[-1]}: {link.path}" + (f" after job {' and '.join(after)}" if after else "")


def describe_chain(links: Sequence[Link]) -> Iterator[str]:
    """Yield the scripts and commands of `submit`, line by line."""
    for link in links:
        yield f"==> {link.path}"
        yield link.text
    for link in links:
        after = [f"JOB{place + 1}" for place in link.after]
        yield shlex.join(slurm.submit_argv(link.path, after, _trained_before(link, links)))


def _trained_before(link: Link, links: Sequence[Link]) -> list[Path]:
    """Return the runs whose training a job follows. A data set that is not finished is refused by whoever needs it."""
    return [links[place].run for place in link.after if links[place].stage is TRAIN]


def _write(link: Link) -> None:
    before = os.umask(0o077)
    if not link.recipe.cluster.private:
        os.umask(before)
    try:
        with open_run(link.recipe) as run:
            (run / STOP).unlink(missing_ok=True)  # a request to an earlier job
            write(link.text, run, link.stage)
    finally:
        os.umask(before)


def _run_of(recipe: Recipe) -> Path:
    return (Path(recipe.runs) / recipe.name).absolute()
