"""This rank's device, the processor cores near it, and the memory of a CPU."""

from __future__ import annotations

import ctypes
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError

PCI_DEVICES = Path("/sys/bus/pci/devices")

# mallopt(3). Values are C ints, so that the maximum is just below 2 GiB.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
LARGEST_INT = (1 << 31) - 1
GROWTH_BYTES = 64 << 20

log = logging.getLogger(__name__)


def choose_device(requested: str, local_rank: int, local_world_size: int) -> torch.device:
    """Return the device of a rank: its GPU, the only one that it sees, or the CPU. Raises `UserError` without one.

    A scheduler can show each rank only its own GPU (`--gpus-per-task=1`, `--gpu-bind`): that is device 0 for all ranks.
    """
    count = torch.cuda.device_count() if requested != "cpu" else 0
    if requested == "cpu" or (requested == "auto" and count == 0):
        return torch.device("cpu")
    if count == 0:
        raise UserError(
            "torch finds no usable GPU", place="cluster.device", fix='set it to "auto" or "cpu", or check the driver'
        )
    if count == 1:  # `check_own_gpus` finds ranks that share it
        return torch.device("cuda", 0)
    if local_world_size > count:
        raise UserError(
            f"{local_world_size} ranks on a node with {count} GPUs",
            place="cluster.ranks_per_node",
            fix="start at most one rank per GPU",
        )
    return torch.device("cuda", local_rank)


def gpu_name(device: torch.device) -> str:
    """Return what identifies a GPU among those of all nodes."""
    return f"{os.uname().nodename} {torch.cuda.get_device_properties(device).uuid}"


def check_own_gpus(names: Sequence[str]) -> None:
    """Raise `UserError` if two ranks have the same GPU. `names` are their GPUs, by rank."""
    ranks = defaultdict(list)
    for rank, name in enumerate(names):
        ranks[name].append(str(rank))
    for name, sharing in ranks.items():
        if len(sharing) > 1:
            raise UserError(
                f"ranks {', '.join(sharing)} see only one GPU, the same one",
                place=name.partition(" ")[0],
                fix="start one rank per GPU: lower cluster.ranks_per_node, or request one GPU for each task",
            )


def pci_address(device: torch.device) -> str:
    """Return the address by which the system and the driver know a GPU, e.g. 0000:1b:00.0."""
    properties: Any = torch.cuda.get_device_properties(device)
    return f"{properties.pci_domain_id:04x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"


def bind_to_nearby_cores(device: torch.device, ranks: int) -> None:
    """Run this process on the cores of its GPU's NUMA node, where the scheduler lets it.

    Nothing changes if the system does not tell them, or if they are fewer than this rank's share of the node's cores.
    """
    address = pci_address(device)
    allowed = os.sched_getaffinity(0)
    near = nearby_cores(address) & allowed
    if near and near != allowed and len(near) >= len(allowed) // ranks:
        os.sched_setaffinity(0, near)
        log.info("rank's process bound to %d of %d cores, near GPU %s", len(near), len(allowed), address)


def nearby_cores(address: str, devices: Path = PCI_DEVICES) -> set[int]:
    """Return the cores of a PCI device's NUMA node; an empty set if the system does not tell them."""
    try:
        listed = (devices / address / "local_cpulist").read_text().strip()
        cores: set[int] = set()
        for part in listed.split(",") if listed else ():
            first, _, last = part.partition("-")
            cores.update(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        return set()
    return cores


def keep_freed_memory() -> None:
    """Reuse memory that a step has freed in the next step, instead of returning it to the system.

    By default, glibc maps each large tensor again, and the system clears its pages at every step: 0.2 of the 3.4
    CPU-seconds of a BERT base step. Other C libraries are left unchanged.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, LARGEST_INT), (TOP_PAD, GROWTH_BYTES)):
            mallopt(option, value)
