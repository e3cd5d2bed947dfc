"""Cores and memory as containers and schedulers grant them, read from trees like those of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from configs.machine import granted


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ({"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),  # docker --cpus 2
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),  # half a core
        ({"sys/fs/cgroup/cpu.max": "3200000 100000"}, 8),  # more than there are
        (  # a quota on a cgroup above ours
            {
                "proc/self/cgroup": "0::/kubepods/pod1/box",
                "sys/fs/cgroup/kubepods/pod1/box/cpu.max": "max 100000",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "350000 100000",
            },
            3,
        ),
        (  # version 1
            {
                "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (  # version 1 in a container, whose cgroup has another path inside than outside
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/4711",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            1,
        ),
    ],
)
def test_cores_are_the_least_of_affinity_and_quotas(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert granted.usable_cores(write(tmp_path, files)) == cores


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert granted.usable_cores(write(tmp_path, {"sys/fs/cgroup/cpu.max": "400000 100000"})) == 2


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"sys/fs/cgroup/memory.max": "max"}, None),
        ({"sys/fs/cgroup/memory.max": str(3 << 28)}, 3 << 28),
        ({"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.high": str(1 << 29)}, 1 << 29),
        (  # a limit on a slice of systemd above ours
            {
                "proc/self/cgroup": "0::/user.slice/run.scope",
                "sys/fs/cgroup/user.slice/run.scope/memory.max": str(1 << 30),
                "sys/fs/cgroup/user.slice/memory.max": str(1 << 28),
            },
            1 << 28,
        ),
        (  # a container in which the path of its cgroup leads out of its namespace
            {"proc/self/cgroup": "0::/../../pod1/box", "sys/fs/cgroup/memory.max": str(1 << 28)},
            1 << 28,
        ),
        (  # both versions side by side
            {
                "proc/self/cgroup": "4:memory:/job\n0::/job",
                "sys/fs/cgroup/unified/job/cgroup.procs": "1",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(1 << 28),
            },
            1 << 28,
        ),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, None),  # version 1: no limit
        (
            {
                "proc/self/cgroup": "5:memory:/slurm/job_1/step_0",
                "sys/fs/cgroup/memory/slurm/job_1/step_0/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/slurm/job_1/memory.limit_in_bytes": str(1 << 28),
            },
            1 << 28,
        ),
    ],
)
def test_memory_is_the_least_of_the_machine_and_the_limits(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    found = granted.usable_memory_bytes(write(tmp_path, files))
    assert found == (limit or psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("ranks", "env", "threads"),
    [
        (2, {}, 4),
        (16, {}, 1),
        (2, {"OMP_NUM_THREADS": "1"}, 1),  # on a shared machine, say
        (2, {"OMP_NUM_THREADS": "3"}, 3),
        (2, {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none"}, 4),  # torchrun sets it for everybody
        (2, {"OMP_NUM_THREADS": "3", "TORCHELASTIC_RUN_ID": "none"}, 3),
        (2, {"OMP_NUM_THREADS": "many"}, 4),
        (4, {"SLURM_CPUS_PER_TASK": "6", "SLURM_STEP_NUM_TASKS": "4"}, 6),  # the task's own cores
        (4, {"SLURM_CPUS_PER_TASK": "6"}, 2),  # the cores of a shell of srun, whose ranks share them
    ],
)
def test_threads_of_a_rank(ranks: int, env: dict[str, str], threads: int) -> None:
    assert granted.threads_of_rank(ranks, env) == threads
