"""Checks of the connections between ranks: on one machine, and between nodes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from configs.schema import ClusterConfig
from launch.cluster import meet_under_mpi
from launch.doctor.bandwidth import measure_here, measure_with
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.ranks import this_machine

MIN_GB_S = 0.1  # lower bandwidth gives a warning


def between_ranks(device: str) -> Finding:
    """Measure the bandwidth between ranks of this machine: its GPUs, or two ranks on the CPU."""
    gpus = this_machine().gpus if device != "cpu" else 0
    if gpus == 1:
        return Finding("ranks", OK, "one GPU; no communication to measure")
    count, kind = (gpus, "cuda") if gpus else (2, "cpu")
    return _bandwidth_finding("ranks", f"{count} on {'GPUs' if gpus else 'the CPU'}", lambda: measure_here(count, kind))


def under_mpi(cluster: ClusterConfig) -> Finding:
    """Start two ranks with mpirun, or one on each host, that look for rank 0 as those of a run do."""
    try:
        address = meet_under_mpi(cluster)
    except UserError as error:
        return Finding("ranks", ERROR, error.cause, error.fix)
    return Finding("ranks", OK, f"mpirun's ranks reach rank 0 at {address}")


def between_nodes(meeting: Path, rank: int, nodes: int, device: str) -> Finding:
    """Measure the bandwidth between nodes, one rank per node. `meeting` is a file in a shared folder."""
    kind = "cuda" if device != "cpu" and this_machine().gpus else "cpu"
    return _bandwidth_finding("network", f"{nodes} nodes", lambda: measure_with(meeting, rank, nodes, kind))


def _bandwidth_finding(name: str, found: str, measure: Callable[[], float | None]) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(name, OK, "not measured: torch is not installed")
    try:
        gb_s = measure()
    except OSError as error:
        fix = "open the ports between the ranks; on GPUs, see `nvidia-smi topo -m`"
        return Finding(name, ERROR, f"{found} cannot reach each other: {error}", fix)
    measured = "" if gb_s is None else f"{gb_s:,.2f} GB/s per rank"
    if gb_s is not None and gb_s < MIN_GB_S:
        return Finding(name, WARNING, found, "communication will slow training down: see `bertrain plan`", measured)
    return Finding(name, OK, found, "", measured)
