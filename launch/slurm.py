"""Runs as Slurm jobs: `plan` writes the script, `submit` hands it to sbatch, `jobs_of` and `stop` find it again.

The script lies in the run folder beside the resolved recipe, so that a run is started again by `sbatch` of it alone. It
comes back by itself after a time limit, a preemption, a node that failed or a rank that crashed, within the bound of
`cluster.max_restarts` (see launch/starts.py). The preparation of a run's data set has a script of its own.
"""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.schema import ClusterConfig, Recipe
from launch import starts

SCRIPT = "submit.sbatch"
PREPARE_SCRIPT = "prepare.sbatch"
LOGS = {SCRIPT: "slurm.log", PREPARE_SCRIPT: "prepare.log"}
TEMPLATE_OF = {SCRIPT: "train.sbatch.j2", PREPARE_SCRIPT: "prepare.sbatch.j2"}
TEMPLATES = Path(__file__).parent / "templates"

# What a job sees of the submitting shell; the rest, secrets with it, stays behind.
ENVIRONMENT = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "PATH", "LD_LIBRARY_PATH")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job in Slurm's queue."""

    id: str
    state: str  # PENDING, RUNNING, COMPLETING …
    reason: str  # why it waits
    nodes: str
    elapsed: str
    script: Path


def plan(recipe: Recipe, run: Path, *, folder: Path, python: str, script: str = SCRIPT) -> str:
    """A batch script of a run: the one that trains, or with `PREPARE_SCRIPT` the one that prepares. A pure function.

    `run` is the run's folder, `folder` the one that the recipe's relative paths start from, `python` the interpreter
    for recipes that name none; all absolute. Raises `UserError` for a path that no script can name.
    """
    run, folder = _one_line(run), _one_line(folder)
    cluster = recipe.cluster
    return (
        _environment()
        .get_template(TEMPLATE_OF[script])
        .render(
            name=recipe.name,
            cluster=cluster,
            ranks_per_node=ranks_per_node(cluster),
            resources=list(resources(cluster)),
            environment=exported(cluster),
            run=run,
            folder=folder,
            dataset=folder / recipe.data.dataset,
            script=run / script,
            log=run / "logs" / LOGS[script],
            python=shlex.join((*cluster.container, cluster.python or python, "-P", "-m")),
            srun_options="".join(f"{shlex.quote(option)} " for option in cluster.srun_options),
        )
    )


def write_script(text: str, run: Path, script: str = SCRIPT) -> Path:
    """Put a script into its run's folder."""
    (run / "logs").mkdir(parents=True, exist_ok=True)
    atomic_write_text(run / script, text)
    return run / script


def submit_argv(script: Path, after: Sequence[str] = ()) -> list[str]:
    """The command that submits a script; `after` names the jobs that must have succeeded before."""
    chained = [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []
    return ["sbatch", "--parsable", *chained, str(script)]


def submit(script: Path, after: Sequence[str] = ()) -> str:
    """Submit a script; returns the job's id. `UserError` when Slurm refuses it."""
    return _ask(*submit_argv(script, after)).partition(";")[0]  # `id;cluster` where there are several clusters


def queue() -> list[Job]:
    """The user's jobs that wait or run; none where there is no Slurm, or none that answers."""
    if shutil.which("squeue") is None:
        return []
    try:
        rows = _ask("squeue", "--me", "--noheader", "--format=%i|%T|%r|%N|%M|%o").splitlines()
    except UserError as error:
        logger.warning("Slurm's queue is not looked at: %s", error)
        return []
    return [Job(row[0], row[1], row[2], row[3], row[4], Path(row[5])) for row in (row.split("|", 5) for row in rows)]


def jobs_of(run: Path, jobs: Sequence[Job]) -> list[Job]:
    """Those that run a script of this run. A job's id would not tell: another cluster counts anew."""
    return [job for job in jobs if job.script.parent == run.absolute() and job.script.name in LOGS]


def stop(run: Path, jobs: Sequence[Job]) -> None:
    """Ask a run's jobs to save and end for good; what only waits, or prepares, is cancelled."""
    for job in jobs:
        trains = job.state == "RUNNING" and job.script.name == SCRIPT
        if trains:
            (run / starts.STOP).touch()
        _ask("scancel", *(["--batch", "--signal=USR1"] if trains else []), job.id)


def ranks_per_node(cluster: ClusterConfig) -> int:
    """Ranks a node of a job: as the recipe says, or one a GPU."""
    return cluster.ranks_per_node or cluster.gpus_per_node or 1


def exported(cluster: ClusterConfig) -> str:
    """The value of --export: names of the variables that a job may see."""
    return ",".join((*ENVIRONMENT, *cluster.environment))


def resources(cluster: ClusterConfig) -> Iterator[str]:
    """Options of sbatch and srun for what the recipe asks for, as words of an argv."""
    named = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": cluster.exclude,
        "gpus-per-node": cluster.gpus_per_node,
        "cpus-per-task": cluster.cpu_threads,
        "mem": f"{cluster.memory_gib}G" if cluster.memory_gib else None,
    }
    for option, value in named.items():
        if value:
            yield f"--{option}={value}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (the output is a shell script: the filters below quote, each for its reader)
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = lambda value: shlex.quote(str(value or ""))
    environment.filters["sbatch"] = lambda path: _sbatch_quoted(str(path).replace("%", "%%"))
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
        raise UserError("a line break or backslash in the path", place=repr(str(path)), mend="choose another folder")
    return path


def _ask(*argv: str) -> str:
    """One of Slurm's commands, without a shell: what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        mend = "log in to a node of the cluster, or use --to local"
        raise UserError(f"no {argv[0]} here: this machine has no Slurm", place=argv[0], mend=mend) from None
    except subprocess.TimeoutExpired:
        raise UserError("Slurm does not answer", place=argv[0], mend="see `scontrol ping`") from None
    if done.returncode:
        words = " ".join(line.removeprefix(f"{argv[0]}: ") for line in done.stderr.strip().splitlines())
        raise UserError(words.removeprefix("error: "), place=argv[0], mend="see `sinfo`, and the recipe's [cluster]")
    return done.stdout.strip()
