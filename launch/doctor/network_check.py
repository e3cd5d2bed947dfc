"""What `bertrain doctor` says of the ranks' ways to one another: on one machine, and over the network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from launch.doctor.bandwidth import measure_here, measure_with
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.ranks import this_machine

SENT_GB_S = 0.1  # less is worth a warning


def between_ranks(device: str) -> Finding:
    """What ranks of this machine send one another: its GPUs, or two on the CPU."""
    gpus = this_machine().gpus if device != "cpu" else 0
    if gpus == 1:
        return Finding("ranks", OK, "one GPU, which has nobody to send to")
    count, kind = (gpus, "cuda") if gpus else (2, "cpu")
    return _sending("ranks", f"{count} on {'GPUs' if gpus else 'the CPU'}", lambda: measure_here(count, kind))


def between_nodes(meeting: Path, rank: int, nodes: int, device: str) -> Finding:
    """What nodes send one another, one rank on each; they meet through a file in a folder that they share."""
    kind = "cuda" if device != "cpu" and this_machine().gpus else "cpu"
    return _sending("network", f"{nodes} nodes", lambda: measure_with(meeting, rank, nodes, kind))


def _sending(name: str, found: str, measure: Callable[[], float | None]) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(name, OK, "not tried without torch")
    try:
        gb_s = measure()
    except OSError as error:
        fix = "see that nothing blocks the ports between the ranks, and `nvidia-smi topo -m` where there are GPUs"
        return Finding(name, ERROR, f"{found} do not reach each other: {error}", fix)
    measured = "" if gb_s is None else f"{gb_s:,.2f} GB/s from each"
    if gb_s is not None and gb_s < SENT_GB_S:
        return Finding(name, WARNING, found, "training will wait for the network: see `bertrain plan`", measured)
    return Finding(name, OK, found, "", measured)
