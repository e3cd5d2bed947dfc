"""`bertrain doctor`: what of this machine, or of each node of a job, would spoil a run, and how to mend it.

python -m launch.doctor FOLDER DEVICE       one node's findings as a line of JSON: the job's task
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.table import Table

import configs
from configs.errors import UserError
from configs.schema import Recipe
from launch import local
from launch.batch_script import exported, resources
from launch.console import console
from launch.supervisor import USER_ERROR

OK, WARNING, ERROR = "ok", "warning", "error"
COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red"}

PROBE_BYTES = 64 << 20
FREE_GIB, WRITE_MB_S, SHARED_GIB = 20.0, 50.0, 1.0  # less is worth a warning
TIME_MIN = 5
SKEW_S = 30.0  # between nodes, the time that srun takes to start them included


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `found` is the same on nodes that are alike; `measured` need not be."""

    name: str
    level: str
    found: str
    mend: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Node:
    """One machine's findings, and its clock."""

    name: str
    time: float
    findings: list[Finding]


def examine(folder: Path, device: str) -> Node:
    """Look at this machine; `folder` is where runs are written, `device` the recipe's (auto, cpu, cuda)."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _packages,
        lambda: _gpus(device),
        _compiler,
        _memory,
        _shared_memory,
        lambda: _disk(folder),
        lambda: _program("Slurm", ["sinfo", "--version"]),
        lambda: _program("MPI", ["mpirun", "--version"]),
    ]
    name = os.environ.get("SLURMD_NODENAME", platform.node())
    return Node(name, time.time(), [check() for check in checks])


def examine_nodes(recipe: Recipe, folder: Path) -> list[Node]:
    """Look at the nodes that the recipe's `[cluster]` asks Slurm for; waits for them. `UserError` when srun fails."""
    cluster = recipe.cluster
    argv = [
        "srun",
        "--label",
        f"--nodes={cluster.nodes}",
        "--ntasks-per-node=1",
        f"--time={TIME_MIN}",
        f"--export={exported(cluster)}",
        *resources(cluster),
        *cluster.srun_options,
        *cluster.container,
        cluster.python or sys.executable,
        *("-P", "-m", "launch.doctor", str(folder.absolute()), cluster.device),
    ]
    if shutil.which("srun") is None:
        raise UserError("no srun here: this machine has no Slurm", place="srun", mend="log in to the cluster")
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError("srun failed: see above", place="srun", mend="see `sinfo`, and the recipe's [cluster]")
    return [_parse(line.partition(": ")[2]) for line in done.stdout.splitlines()]


def odd_ones(nodes: Sequence[Node]) -> list[Finding]:
    """What differs between nodes that should be alike, the node that differs named."""
    odd: list[Finding] = []
    for number, finding in enumerate(nodes[0].findings):
        usual, _ = Counter(node.findings[number].found for node in nodes).most_common(1)[0]
        for node in nodes:
            found = node.findings[number].found
            if found != usual:
                text = f"{node.name} has {found}, the others {usual}"
                odd.append(Finding(finding.name, WARNING, text, f"mend {node.name}, or leave it out: cluster.exclude"))
    clocks = [node.time for node in nodes]
    if max(clocks) - min(clocks) > SKEW_S:
        late = min(nodes, key=lambda node: node.time).name
        text = f"clocks are up to {max(clocks) - min(clocks):.0f} s apart; {late} is the last"
        odd.append(Finding("clock", WARNING, text, "start chrony or ntpd on the nodes"))
    return odd


def show(recipe: Recipe, *, on_nodes: bool) -> int:
    """Print what was found; 2 when something is wrong, else 0."""
    folder = Path(recipe.runs)
    nodes = examine_nodes(recipe, folder) if on_nodes else [examine(folder, recipe.cluster.device)]
    findings = [*nodes[0].findings, *odd_ones(nodes)]
    screen = console()
    screen.print(f"{len(nodes)} nodes; this is {nodes[0].name}" if on_nodes else nodes[0].name, markup=False)
    screen.print(table(findings))
    levels = {finding.level for node in nodes for finding in (*node.findings, *findings)}
    return USER_ERROR if ERROR in levels else 0


def table(findings: Sequence[Finding]) -> Table:
    """Findings for a terminal, each with its mend."""
    result = Table("", "", "", "mend", box=None, pad_edge=False)
    for one in findings:
        found = " ".join(part for part in (one.found, one.measured) if part).replace("[", r"\[")
        result.add_row(f"[{COLOURS[one.level]}]{one.level}[/]", one.name, found, one.mend.replace("[", r"\["))
    return result


def _python() -> Finding:
    return Finding("Python", OK, f"{platform.python_version()} at {sys.executable}")


def _packages() -> Finding:
    """Installed versions beside those that were tried together."""
    different, missing = [], []
    for name, tried in tried_versions().items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if installed.partition("+")[0] != tried:
            different.append(f"{name} {installed} (tried: {tried})")
    if "torch" in missing:
        return Finding(
            "packages", WARNING, "no torch: this machine prepares and submits", "pip install 'bertrain[train]'"
        )
    if different:
        return Finding("packages", WARNING, ", ".join(different), "pip install -c configs/constraints.txt bertrain")
    return Finding("packages", OK, "as tried together")


def tried_versions() -> dict[str, str]:
    """Name and version of each pin in configs/constraints.txt."""
    assert configs.__file__ is not None
    lines = (Path(configs.__file__).parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.split()[0] for name, version in pins}


def _gpus(device: str) -> Finding:
    count = local.this_machine().gpus
    if count:
        return Finding("GPUs", OK, f"{count}, driver for CUDA {_cuda_version()}")
    if device == "cuda":
        return Finding("GPUs", ERROR, "none", "check the driver (nvidia-smi), or set cluster.device=cpu")
    return Finding("GPUs", OK, "none: training runs on the CPU")


def _cuda_version() -> str:
    version = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _compiler() -> Finding:
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        return Finding("compiler", WARNING, "none: some fused operations cannot be built", "apt-get install g++")
    return Finding("compiler", OK, found)


def _memory() -> Finding:
    gib = psutil.virtual_memory().total / 2**30
    return Finding("memory", OK, f"{gib:,.0f} GiB, {local.this_machine().cores} cores")


def _shared_memory() -> Finding:
    gib = psutil.disk_usage("/dev/shm").total / 2**30  # noqa: S108 (looked at, not written to)
    if gib < SHARED_GIB:
        return Finding("shared memory", WARNING, f"{gib:.1f} GiB", "start the container with --shm-size=8g")
    return Finding("shared memory", OK, f"{gib:,.0f} GiB")


def _disk(folder: Path) -> Finding:
    """Free space and write speed, measured with a file that is removed again."""
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.is_dir())
    free_gib = shutil.disk_usage(there).free / 2**30
    probe = there / f".bertrain-doctor-{os.getpid()}-{platform.node()}"
    try:
        began = time.perf_counter()
        with probe.open("wb") as stream:
            stream.write(os.urandom(1 << 20) * (PROBE_BYTES >> 20))
            stream.flush()
            os.fsync(stream.fileno())
        speed_mb_s = PROBE_BYTES / 1e6 / (time.perf_counter() - began)
    except OSError as error:
        return Finding("disk", ERROR, f"cannot write to {there}: {error.strerror}", "choose another folder: runs=…")
    finally:
        probe.unlink(missing_ok=True)
    measured = f"{free_gib:,.0f} GiB free, {speed_mb_s:,.0f} MB/s written"
    if free_gib < FREE_GIB:
        return Finding("disk", WARNING, str(there), "free some space: each checkpoint is 12 bytes a weight", measured)
    if speed_mb_s < WRITE_MB_S:
        return Finding("disk", WARNING, str(there), "choose a faster file system, or save less often", measured)
    return Finding("disk", OK, str(there), "", measured)


def _program(name: str, argv: list[str]) -> Finding:
    """A launcher's version; none is no fault, for it may not be wanted."""
    if shutil.which(argv[0]) is None:
        return Finding(name, OK, "none")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        return Finding(name, WARNING, f"{argv[0]} fails: {done.stderr.strip()[:100]}", f"run: {' '.join(argv)}")
    return Finding(name, OK, done.stdout.splitlines()[0])


def _parse(line: str) -> Node:
    fields = json.loads(line)
    return Node(fields["name"], fields["time"], [Finding(**finding) for finding in fields["findings"]])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(examine(Path(sys.argv[1]), sys.argv[2]))) + "\n")
