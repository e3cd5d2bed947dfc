"""`bertrain doctor`: what of this machine, or of each node of a job, would spoil a run, and how to mend it.

python -m launch.doctor.doctor FOLDER DEVICE       one node's findings as lines of JSON: the job's task
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
from configs.schema import Recipe
from launch.cluster import exported_variables, resource_options
from launch.doctor import checks, network_check
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.terminal import console

LEVEL_COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red"}

TIME_MIN = 5
SKEW_S = 30.0  # between nodes, the time that srun takes to start them included


@dataclass(frozen=True)
class Node:
    """One machine's findings, and its clock."""

    name: str
    time: float
    findings: list[Finding]


def examine(folder: Path, device: str) -> Node:
    """Look at this machine; `folder` is where runs are written, `device` the recipe's (auto, cpu, cuda)."""
    looks: list[Callable[[], Finding]] = [
        checks.python,
        checks.packages,
        lambda: checks.gpus(device),
        checks.compiler,
        checks.memory,
        checks.shared_memory,
        lambda: checks.disk(folder),
        lambda: checks.clock(folder),
        lambda: checks.program("Slurm", ["sinfo", "--version"]),
        lambda: checks.program("MPI", ["mpirun", "--version"]),
        lambda: network_check.between_ranks(device),
    ]
    name = os.environ.get("SLURMD_NODENAME", platform.node())
    return Node(name, time.time(), [look() for look in looks])


def examine_as_task(folder: Path, device: str, env: Mapping[str, str]) -> Node:
    """As one of a job's tasks, one on each node: look at this node, and at the network to the others."""
    node = examine(folder, device)
    rank, ranks = int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"])
    if ranks > 1:
        meeting = folder / f".bertrain-doctor-{env['SLURM_JOB_ID']}.{env['SLURM_STEP_ID']}"
        try:
            node.findings.append(network_check.between_nodes(meeting, rank, ranks, device))
        finally:
            if rank == 0:
                meeting.unlink(missing_ok=True)
    return node


def examine_nodes(recipe: Recipe, folder: Path) -> list[Node]:
    """Look at the nodes that the recipe's `[cluster]` asks Slurm for; waits for them. `UserError` when srun fails."""
    cluster = recipe.cluster
    argv = [
        "srun",
        f"--nodes={cluster.nodes}",
        "--ntasks-per-node=1",
        f"--time={TIME_MIN}",
        f"--export={exported_variables(cluster)}",
        *resource_options(cluster),
        *cluster.srun_options,
        *cluster.container,
        cluster.python or sys.executable,
        *("-P", "-m", "launch.doctor.doctor", str(folder.absolute()), cluster.device),
    ]
    if shutil.which("srun") is None:
        raise UserError("no srun here: this machine has no Slurm", place="srun", fix="log in to the cluster")
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError("srun failed: see above", place="srun", fix="see `sinfo`, and the recipe's [cluster]")
    return parse(done.stdout.splitlines())


def odd_ones(nodes: Sequence[Node]) -> list[Finding]:
    """What differs between nodes that should be alike, the node that differs named."""
    odd: list[Finding] = []
    for number, finding in enumerate(nodes[0].findings):
        usual, _ = Counter(node.findings[number].found for node in nodes).most_common(1)[0]
        for node in nodes:
            found = node.findings[number].found
            if found != usual:
                text = f"{node.name} has {found}, the others {usual}"
                level = ERROR if node.findings[number].level == ERROR else WARNING
                odd.append(Finding(finding.name, level, text, f"mend {node.name}, or leave it out: cluster.exclude"))
    clocks = [node.time for node in nodes]
    if max(clocks) - min(clocks) > SKEW_S:
        late = min(nodes, key=lambda node: node.time).name
        text = f"clocks are up to {max(clocks) - min(clocks):.0f} s apart; {late} is the last"
        odd.append(Finding("clock", WARNING, text, "start chrony or ntpd on the nodes"))
    return odd


def show_findings(recipe: Recipe, *, on_nodes: bool) -> int:
    """Print what was found; 2 when something is wrong, else 0."""
    folder = Path(recipe.runs)
    nodes = examine_nodes(recipe, folder) if on_nodes else [examine(folder, recipe.cluster.device)]
    findings = [*nodes[0].findings, *odd_ones(nodes)]
    screen = console()
    screen.print(f"{len(nodes)} nodes; this is {nodes[0].name}" if on_nodes else nodes[0].name, markup=False)
    screen.print(findings_table(findings))
    levels = {finding.level for node in nodes for finding in (*node.findings, *findings)}
    return USER_ERROR if ERROR in levels else DONE


def findings_table(findings: Sequence[Finding]) -> Table:
    """Findings for a terminal, each with its mend."""
    result = Table("", "", "", "mend", box=None, pad_edge=False)
    for one in findings:
        found = " ".join(part for part in (one.found, one.measured) if part).replace("[", r"\[")
        result.add_row(f"[{LEVEL_COLOURS[one.level]}]{one.level}[/]", one.name, found, one.fix.replace("[", r"\["))
    return result


def lines(node: Node) -> Iterator[str]:
    """A node's findings as JSON, one a line: srun breaks lines of more than a kilobyte, and mixes those of tasks."""
    for finding in node.findings:
        yield json.dumps({"node": node.name, "time": node.time, **asdict(finding)})


def parse(said: Sequence[str]) -> list[Node]:
    """The nodes whose lines these are, mixed as they may be."""
    nodes: dict[str, Node] = {}
    for line in said:
        fields = json.loads(line)
        name, at = fields.pop("node"), fields.pop("time")
        nodes.setdefault(name, Node(name, at, [])).findings.append(Finding(**fields))
    return list(nodes.values())


if __name__ == "__main__":
    for text in lines(examine_as_task(Path(sys.argv[1]), sys.argv[2], os.environ)):
        sys.stdout.write(text + "\n")
