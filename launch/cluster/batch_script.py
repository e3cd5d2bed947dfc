"""Render the batch scripts of a run's jobs: prepare, train, export. `render` is a pure function.

Each script is in the run folder, next to the resolved recipe, so that `sbatch SCRIPT` starts the job again. The
recipe's schema validates values; this module quotes them for bash or for sbatch.

A script has no seal, unlike the recipe: sites add lines to it by hand, and it configures only where the ranks run. What
they train is in the sealed recipe, so that a damaged script fails, or trains the same run elsewhere.

submitit submits jobs as well, but its script only unpickles a function: people could not read it, add a line for their
site, or submit it by hand.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.run_layout import LOGS
from configs.schema import ClusterConfig, Recipe

BEGIN = "slurm_hooks begin"  # in each script that trains: what records a start
SECRET = "BERTRAIN_SECRET"  # noqa: S105 (the variable's name)
TEMPLATES = Path(__file__).parent / "templates"

# Variables that a job inherits from the submitting shell. Others, which can hold secrets, are not passed.
ENVIRONMENT = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "PATH", "LD_LIBRARY_PATH")
# A site's settings of NCCL and of the network libraries under it: UCX, libfabric, and the RDMA drivers.
NETWORK = re.compile(r"(NCCL|TORCH_NCCL|UCX|FI|RDMAV)_[A-Z0-9_]+", re.ASCII)


@dataclass(frozen=True)
class JobStage:
    """One kind of job of a run. `name` selects the template, and is the suffix of the job's name unless it trains."""

    name: str
    script: str  # in the run folder
    log: str  # in its logs/
    uses_nodes: bool = False  # all nodes, with their GPUs; otherwise one process on one node without GPUs


TRAIN = JobStage("train", "submit.sbatch", "slurm.log", uses_nodes=True)
PREPARE = JobStage("prepare", "prepare.sbatch", "prepare.log")
EXPORT = JobStage("export", "export.sbatch", "export.log")
JOB_STAGES = (PREPARE, TRAIN, EXPORT)


@dataclass(frozen=True)
class Site:
    """Working directory and Python of the submitting command, both absolute. Relative paths start from `folder`.

    `network` are the names of its environment variables that configure the network (`network_variables`).
    """

    folder: Path
    python: str
    network: tuple[str, ...] = ()


def render(
    recipe: Recipe,
    run: Path,
    site: Site,
    stage: JobStage = TRAIN,
    *,
    shares: int = 1,
    output: Path | None = None,
    cores: int = 0,
) -> str:
    """Return the script of one stage of a run. `run` is the absolute run folder.

    The site's Python is the default for recipes that name none. A preparation in several `shares` is a job array with
    one job per share. An export writes to the folder `output`. `cores` are those of a node, 0 if unknown, which the
    ranks share if the recipe states no `cpu_threads`. Raises `UserError` for a path that a script cannot hold.
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
            resources=list(resource_options(cluster, whole_nodes=stage.uses_nodes, cores=cores)),
            environment=exported_variables(cluster, site.network),
            run=run,
            folder=folder,
            shares=shares,
            output=_one_line(output) if output else None,
            script=run / stage.script,
            secret=SECRET,
            log=_log(run, stage, shares),
            correctable=correctable_keys(cluster) or "cluster.python",
            python=shlex.join((*cluster.container, cluster.python or site.python, "-P", "-m")),
            placement=_placement(cluster),
            srun_options="".join(f"{shlex.quote(option)} " for option in cluster.srun_options),
        )
    )


def write(text: str, run: Path, stage: JobStage = TRAIN) -> Path:
    """Write a script to its run folder, and return its path."""
    (run / LOGS).mkdir(parents=True, exist_ok=True)
    atomic_write_text(run / stage.script, text)
    return run / stage.script


def ranks_per_node(cluster: ClusterConfig) -> int:
    """Return the number of ranks per node: the recipe's, or one per GPU."""
    return cluster.ranks_per_node or cluster.gpus_per_node or 1


def network_variables(environment: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the variables in `environment` that configure NCCL and the network libraries under it."""
    return tuple(sorted(name for name in environment if NETWORK.fullmatch(name)))


def exported_variables(cluster: ClusterConfig, network: Sequence[str] = ()) -> str:
    """Return the value of --export: the names of the variables that a job inherits, each once."""
    return ",".join(dict.fromkeys((*ENVIRONMENT, *network, *cluster.environment)))


def python_argv(cluster: ClusterConfig) -> list[str]:
    """Return the words that start Python on a node: after the lines of `cluster.setup`, and in `cluster.container`."""
    return [*_setup_argv(cluster.setup), *cluster.container, cluster.python or sys.executable, "-P"]


def correctable_keys(cluster: ClusterConfig) -> str:
    """Return the keys that say how Python is started, as far as they are set, as an error names them."""
    return " or ".join(f"cluster.{key}" for key in ("setup", "container", "python", "hosts") if getattr(cluster, key))


def _setup_argv(lines: Sequence[str]) -> list[str]:
    """Return the words that start a program after these lines, in a login shell, as the job's script runs them."""
    if not lines:
        return []
    keep_path = 'BERTRAIN_PATH=$PATH exec bash -l "$@"'
    checked = [f"{line}\n{check_of_setup(line)}" for line in lines]
    program = "\n".join(["PATH=$BERTRAIN_PATH:$PATH", "unset BERTRAIN_PATH", *checked, 'exec "$@"'])
    return ["bash", "-c", keep_path, "bertrain", "-c", program, "bertrain"]


def check_of_setup(line: str) -> str:
    """Return the shell line that ends the script if this line of `cluster.setup` has failed."""
    return f'[ $? -eq 0 ] || {{ echo "bertrain: cluster.setup failed:" {shlex.quote(line)} >&2; exit 2; }}'


def resource_options(cluster: ClusterConfig, *, whole_nodes: bool = True, cores: int = 0) -> Iterator[str]:
    """Yield the options of sbatch and srun that request the recipe's resources, as words of an argv.

    Without `whole_nodes`, the job is one process with the cores of all ranks of a node, and no GPU. A node has
    this number of `cores`; 0: unknown.
    """
    ranks = ranks_per_node(cluster)
    threads = cluster.cpu_threads or cores // ranks
    named = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": cluster.exclude,
        "gpus-per-node": cluster.gpus_per_node if whole_nodes else None,
        "cpus-per-task": threads if whole_nodes else cluster.cpu_threads * ranks or cores,
        "mem": f"{cluster.memory_gib}G" if cluster.memory_gib else None,
    }
    stated = {option.partition("=")[0] for option in cluster.sbatch_options}
    for option, value in named.items():
        if value and f"--{option}" not in stated:
            yield f"--{option}={value}"


def _size(cluster: ClusterConfig, stage: JobStage, shares: int) -> list[str]:
    nodes, tasks = (cluster.nodes + cluster.spare_nodes, ranks_per_node(cluster)) if stage.uses_nodes else (1, 1)
    array = [f"--array=1-{shares}"] if shares > 1 else []
    # Without --no-kill, with which a job whose first node dies would hold its other nodes until the time limit.
    return [f"--nodes={nodes}", f"--ntasks-per-node={tasks}", *array]


def _placement(cluster: ClusterConfig) -> str:
    """Return srun's options for the nodes of a start, in bash; empty if it has all nodes of the job."""
    if not cluster.spare_nodes:
        return ""
    ranks = cluster.nodes * ranks_per_node(cluster)
    return f'--nodes={cluster.nodes} --ntasks={ranks} --nodelist="$(IFS=,; echo "${{nodes[*]}}")" '


def _log(run: Path, stage: JobStage, shares: int) -> str:
    """Return the log's path for sbatch, where % starts a pattern and %a is the job's number in the array."""
    name = stage.log.replace(".", "_%a.") if shares > 1 else stage.log
    return _sbatch_quoted(str(run / LOGS).replace("%", "%%") + f"/{name}")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (the output is a shell script: the filters below quote for bash and sbatch)
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = lambda value: shlex.quote(str(value or ""))
    environment.filters["sbatch_option"] = _sbatch_option
    environment.filters["check_of_setup"] = check_of_setup
    return environment


def _sbatch_option(option: str) -> str:
    name, separator, value = option.partition("=")
    return name + separator + (_sbatch_quoted(value) if separator else "")


def _sbatch_quoted(text: str) -> str:
    """Quote an option's value for sbatch: in double quotes, with a backslash before quotes and backslashes."""
    if re.fullmatch(r"[\w.,:/=+@-]*", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _one_line(path: Path) -> Path:
    """Return the path. Raise `UserError` if it is relative, or contains a line break or a backslash.

    sbatch's option and a script's comment hold one line each; a backslash would disable the `%` patterns of a log.
    """
    if not path.is_absolute():
        raise UserError("the path is not absolute", place=str(path), fix="give its full path")
    if any(ord(character) < 32 or character in "\\\x7f" for character in str(path)):
        raise UserError(
            "the path contains a line break or backslash", place=repr(str(path)), fix="choose another folder"
        )
    return path
