"""The batch scripts of a run's jobs, as text: prepare, train, export. `render` is a pure function.

Each script lies in the run folder beside the resolved recipe, so that a job is started again by `sbatch` of it alone.
Values were checked when the recipe was read; here they are quoted, each for its reader: bash, or sbatch.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.run_layout import LOGS
from configs.schema import ClusterConfig, Recipe

TEMPLATES = Path(__file__).parent / "templates"

# What a job sees of the submitting shell; the rest, secrets with it, stays behind.
ENVIRONMENT = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "PATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class JobStage:
    """What a job of a run does. `name` is that of its template, and ends the job's name unless it trains."""

    name: str
    script: str  # in the run's folder
    log: str  # in its logs/
    uses_nodes: bool = False  # all of them, with their GPUs; else one process on one node, without


TRAIN = JobStage("train", "submit.sbatch", "slurm.log", uses_nodes=True)
PREPARE = JobStage("prepare", "prepare.sbatch", "prepare.log")
EXPORT = JobStage("export", "export.sbatch", "export.log")
JOB_STAGES = (PREPARE, TRAIN, EXPORT)


@dataclass(frozen=True)
class Site:
    """Where the submitting command stands: the folder that relative paths start from, and its Python. Absolute."""

    folder: Path
    python: str


def render(
    recipe: Recipe, run: Path, site: Site, stage: JobStage = TRAIN, *, shares: int = 1, output: Path | None = None
) -> str:
    """The script of one stage of a run. `run` is its folder, absolute; the site's Python is for recipes that name none.

    A preparation in several `shares` is an array of jobs, each of which makes one; an export goes to the folder
    `output`. Raises `UserError` for a path that no script can name.
    """
    run, folder, cluster = _one_line(run), _one_line(site.folder), recipe.cluster
    return (
        _environment()
        .get_template(f"{stage.name}.sbatch.j2")
        .render(
            name=recipe.name,
            job_name=recipe.name if stage is TRAIN else f"{recipe.name}-{stage.name}",
            cluster=cluster,
            ranks_per_node=ranks_per_node(cluster),
            size=_size(cluster, stage, shares),
            resources=list(resource_options(cluster, whole_nodes=stage.uses_nodes)),
            environment=exported_variables(cluster),
            run=run,
            folder=folder,
            shares=shares,
            output=_one_line(output) if output else None,
            script=run / stage.script,
            log=_log(run, stage, shares),
            python=shlex.join((*cluster.container, cluster.python or site.python, "-P", "-m")),
            srun_options="".join(f"{shlex.quote(option)} " for option in cluster.srun_options),
        )
    )


def write(text: str, run: Path, stage: JobStage = TRAIN) -> Path:
    """Put a script into its run's folder."""
    (run / LOGS).mkdir(parents=True, exist_ok=True)
    atomic_write_text(run / stage.script, text)
    return run / stage.script


def ranks_per_node(cluster: ClusterConfig) -> int:
    """Ranks a node of a job: as the recipe says, or one a GPU."""
    return cluster.ranks_per_node or cluster.gpus_per_node or 1


def exported_variables(cluster: ClusterConfig) -> str:
    """The value of --export: names of the variables that a job may see."""
    return ",".join((*ENVIRONMENT, *cluster.environment))


def resource_options(cluster: ClusterConfig, *, whole_nodes: bool = True) -> Iterator[str]:
    """Options of sbatch and srun for what the recipe asks for, as words of an argv.

    Unless a job uses `whole_nodes`, it is one process, which has the cores of all ranks of a node and no GPU.
    """
    named = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": cluster.exclude,
        "gpus-per-node": cluster.gpus_per_node if whole_nodes else None,
        "cpus-per-task": cluster.cpu_threads * (1 if whole_nodes else ranks_per_node(cluster)),
        "mem": f"{cluster.memory_gib}G" if cluster.memory_gib else None,
    }
    for option, value in named.items():
        if value:
            yield f"--{option}={value}"


def _size(cluster: ClusterConfig, stage: JobStage, shares: int) -> list[str]:
    nodes, tasks = (cluster.nodes, ranks_per_node(cluster)) if stage.uses_nodes else (1, 1)
    array = [f"--array=1-{shares}"] if shares > 1 else []
    return [f"--nodes={nodes}", f"--ntasks-per-node={tasks}", *array]


def _log(run: Path, stage: JobStage, shares: int) -> str:
    """As sbatch reads it: % begins a pattern, and %a is the number in the array."""
    name = stage.log.replace(".", "_%a.") if shares > 1 else stage.log
    return _sbatch_quoted(str(run / LOGS).replace("%", "%%") + f"/{name}")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (the output is a shell script: the filters below quote, each for its reader)
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = lambda value: shlex.quote(str(value or ""))
    environment.filters["sbatch_option"] = _sbatch_option
    return environment


def _sbatch_option(option: str) -> str:
    name, separator, value = option.partition("=")
    return name + separator + (_sbatch_quoted(value) if separator else "")


def _sbatch_quoted(text: str) -> str:
    """As sbatch reads an option's value: in double quotes, backslash before a quote or a backslash."""
    if re.fullmatch(r"[\w.,:/=+@-]*", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _one_line(path: Path) -> Path:
    """sbatch's option and a script's comment each hold one line; a backslash would end `%` patterns in a log's name."""
    if not path.is_absolute():
        raise UserError("not an absolute path", place=str(path))
    if any(ord(character) < 32 or character in "\\\x7f" for character in str(path)):
        raise UserError("a line break or backslash in the path", place=repr(str(path)), fix="choose another folder")
    return path
