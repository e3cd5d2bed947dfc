"""What this process may use of the machine: containers and job schedulers grant less than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Return the number of CPU cores: the least of the affinity and the CPU quotas of all cgroups, at least 1."""
    quotas = (int(quota) for quota in _cpu_quotas(root))
    return max(1, min(len(os.sched_getaffinity(0)), *quotas, os.cpu_count() or 1))


def threads_of_rank(ranks: int, env: Mapping[str, str] = os.environ) -> int:
    """Return the threads of one of a node's `ranks`, where the recipe states none.

    That is the user's OMP_NUM_THREADS (without the 1 that torchrun sets for everybody), the cores that Slurm gave to
    this task of srun, or an equal share of the cores that may be used.
    """
    stated, own = env.get("OMP_NUM_THREADS", ""), env.get("SLURM_CPUS_PER_TASK", "")
    if stated.isdecimal() and int(stated) and not ("TORCHELASTIC_RUN_ID" in env and stated == "1"):
        return int(stated)
    if own.isdecimal() and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return max(1, min(int(own), usable_cores()))
    return max(1, usable_cores() // ranks)


def usable_memory_bytes(root: Path = _ROOT) -> int:
    """Return the memory in bytes: the least of the machine's and the limits of all cgroups.

    Above `memory.high` the kernel slows a process down until it hardly moves, so that counts as a limit too.
    """
    limits = [
        int(text)
        for name in ("memory.max", "memory.high", "memory/memory.limit_in_bytes")
        for text in _read_settings(root, name)
        if text.isdigit()
    ]
    return min([int(psutil.virtual_memory().total), *limits])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota of each cgroup that has one, in cores."""
    for text in _read_settings(root, "cpu.max"):  # version 2: "150000 100000", or "max 100000"
        quota, period = text.split()
        if quota != "max":
            yield int(quota) / int(period)
    quotas = list(_read_settings(root, "cpu/cpu.cfs_quota_us"))  # version 1: -1 means no quota
    periods = list(_read_settings(root, "cpu/cpu.cfs_period_us"))
    for quota, period in zip(quotas, periods, strict=False):
        if int(quota) > 0:
            yield int(quota) / int(period)


def _read_settings(root: Path, name: str) -> Iterator[str]:
    """Yield a setting of this process's cgroup and of all cgroups above it.

    `name` is a file of version 2, or a controller and a file of version 1.
    """
    controller, _, file = name.rpartition("/")
    mount = root / "sys/fs/cgroup" / controller
    place = mount / _own_cgroup(root, controller)
    while True:
        with suppress(OSError):
            yield (place / file).read_text(encoding="ascii").strip()
        if place == mount:
            return
        place = place.parent


def _own_cgroup(root: Path, controller: str) -> str:
    """Return the path of this process's cgroup below its mount point, "" for the root or if it is unknown."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return "/".join(part for part in path.split("/") if part not in ("", "..", "."))
    return ""
