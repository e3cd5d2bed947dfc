"""`bertrain doctor`: check this machine, or each node of a job, for problems that would break a run.

python -m launch.doctor.doctor CLUSTER FOLDER...    task of the job: print one node's findings as lines of JSON;
                                                    CLUSTER is JSON, with the keys of `CHECKED`
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from configs.errors import UserError
from configs.exit_codes import DONE, USER_ERROR
from configs.schema import ClusterConfig, Recipe
from launch.cluster import INSTALL_MPI, exported_variables, network_variables, python_argv, resource_options
from launch.doctor import checks, network_check
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.terminal import console, plain_table

LEVEL_COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red"}

TIME_MIN = 5
CHECKED = ("device", "gpus_per_node", "ranks_per_node")  # keys of [cluster] that a node compares with what it has
SKEW_S = 30.0  # allowed difference between nodes, including the time that srun takes to start them


@dataclass(frozen=True)
class Node:
    """The findings of one machine, and its clock."""

    name: str
    time: float
    findings: list[Finding]


def examine(folder: Path, cluster: ClusterConfig, others: Sequence[Path] = (), *, for_mpi: bool = False) -> Node:
    """Check this machine. `folder` is where runs are written, `cluster` the recipe's section.

    `others` are further folders that the run uses. With `for_mpi`, ranks are started by mpirun.
    """
    device, mpirun = cluster.device, INSTALL_MPI if for_mpi else ""
    all_checks: list[Callable[[], Finding]] = [
        checks.python,
        checks.packages,
        lambda: checks.gpus(cluster),
        checks.compiler,
        checks.memory,
        checks.shared_memory,
        lambda: checks.disk(folder),
        lambda: checks.locks([folder, *others]),
        lambda: checks.clock(folder),
        lambda: checks.program("Slurm", ["sinfo", "--version"]),
        lambda: checks.program("MPI", ["mpirun", "--version"], needed=mpirun),
        lambda: network_check.under_mpi(cluster) if for_mpi else network_check.between_ranks(device),
    ]
    name = os.environ.get("SLURMD_NODENAME", platform.node())
    return Node(name, time.time(), [check() for check in all_checks])


def examine_as_task(folder: Path, cluster: ClusterConfig, env: Mapping[str, str], others: Sequence[Path] = ()) -> Node:
    """Check this node, and the network to the job's other nodes. Each node runs one task of the job."""
    node = examine(folder, cluster, others)
    rank, ranks = int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"])
    if ranks > 1:
        meeting = folder / f".bertrain-doctor-{env['SLURM_JOB_ID']}.{env['SLURM_STEP_ID']}"
        try:
            node.findings.append(network_check.between_nodes(meeting, rank, ranks, cluster.device))
        finally:
            if rank == 0:
                meeting.unlink(missing_ok=True)
    return node


def examine_nodes(recipe: Recipe, folder: Path) -> list[Node]:
    """Start a Slurm job on the nodes of the recipe's `[cluster]` that checks them. Raise `UserError` if srun fails.

    Each task runs the lines of `cluster.setup` first, as a job's script does.
    """
    cluster = recipe.cluster
    checked = json.dumps({name: getattr(cluster, name) for name in CHECKED})
    argv = [
        "srun",
        f"--nodes={cluster.nodes}",
        "--ntasks-per-node=1",
        f"--time={TIME_MIN}",
        f"--export={exported_variables(cluster, network_variables(os.environ))}",
        *resource_options(cluster),
        *cluster.srun_options,
        *python_argv(cluster),
        *("-m", "launch.doctor.doctor", checked, str(folder.absolute())),
        *(str(other) for other in folders_of(recipe)),
    ]
    if shutil.which("srun") is None:
        raise UserError("srun is not installed: this machine has no Slurm", place="srun", fix="log in to the cluster")
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(
            "srun failed: see its message above", place="srun", fix="check `sinfo` and the recipe's [cluster]"
        )
    return parse(done.stdout.splitlines())


def folders_of(recipe: Recipe) -> list[Path]:
    """Return the local folders, beside the folder of runs, in which a run of the recipe locks files."""
    places = [recipe.data.dataset, recipe.train.stage_in]
    return [Path(place).absolute() for place in places if place and "://" not in str(place)]


def node_differences(nodes: Sequence[Node]) -> list[Finding]:
    """Return findings for nodes that differ from most others."""
    differences: list[Finding] = []
    for number, finding in enumerate(nodes[0].findings):
        usual, _ = Counter(node.findings[number].found for node in nodes).most_common(1)[0]
        for node in nodes:
            found = node.findings[number].found
            if found != usual:
                text = f"{node.name} has {found}, the others {usual}"
                level = ERROR if node.findings[number].level == ERROR else WARNING
                differences.append(
                    Finding(finding.name, level, text, f"fix {node.name}, or exclude it with cluster.exclude")
                )
    clocks = [node.time for node in nodes]
    if max(clocks) - min(clocks) > SKEW_S:
        late = min(nodes, key=lambda node: node.time).name
        text = f"clocks are up to {max(clocks) - min(clocks):.0f} s apart; {late} is the furthest behind"
        differences.append(Finding("clock", WARNING, text, "start chrony or ntpd on the nodes"))
    return differences


def show_findings(recipe: Recipe, to: str) -> int:
    """Print the findings on this machine, for `to` local or mpi, or on Slurm's nodes. Return 2 if one is an error."""
    folder, on_nodes = Path(recipe.runs), to == "slurm"
    nodes = (
        examine_nodes(recipe, folder)
        if on_nodes
        else [examine(folder, recipe.cluster, folders_of(recipe), for_mpi=to == "mpi")]
    )
    findings = [*nodes[0].findings, *node_differences(nodes)]
    screen = console()
    screen.print(
        f"{len(nodes)} nodes; the table shows {nodes[0].name} and differences" if on_nodes else nodes[0].name,
        markup=False,
    )
    screen.print(findings_table(findings))
    levels = {finding.level for node in nodes for finding in (*node.findings, *findings)}
    return USER_ERROR if ERROR in levels else DONE


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table with a column of fixes."""
    result = plain_table("", "", "", "fix")
    for one in findings:
        found = " ".join(part for part in (one.found, one.measured) if part).replace("[", r"\[")
        result.add_row(f"[{LEVEL_COLOURS[one.level]}]{one.level}[/]", one.name, found, one.fix.replace("[", r"\["))
    return result


def lines(node: Node) -> Iterator[str]:
    """Yield a node's findings as JSON, one per line.

    srun breaks lines longer than a kilobyte, and mixes the lines of tasks.
    """
    for finding in node.findings:
        yield json.dumps({"node": node.name, "time": node.time, **asdict(finding)})


def parse(output: Sequence[str]) -> list[Node]:
    """Return the nodes that printed these lines, which can be mixed."""
    nodes: dict[str, Node] = {}
    for line in output:
        fields = json.loads(line)
        name, at = fields.pop("node"), fields.pop("time")
        nodes.setdefault(name, Node(name, at, [])).findings.append(Finding(**fields))
    return list(nodes.values())


if __name__ == "__main__":
    for text in lines(
        examine_as_task(
            Path(sys.argv[2]),
            ClusterConfig(**json.loads(sys.argv[1])),
            os.environ,
            [Path(name) for name in sys.argv[3:]],
        )
    ):
        sys.stdout.write(text + "\n")
