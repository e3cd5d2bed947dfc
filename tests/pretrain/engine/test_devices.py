"""Which device a rank takes, and near which cores it runs."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from configs.errors import UserError
from pretrain.engine import devices
from pretrain.engine.devices import bind_to_nearby_cores, check_own_gpus, choose_device, nearby_cores

GPU = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("gpus", "local_rank", "ranks", "index"),
    [(8, 5, 8, 5), (8, 1, 2, 1), (1, 0, 1, 0), (1, 3, 4, 0)],  # the last: the scheduler shows each rank its own GPU
)
def test_a_rank_takes_its_gpu(
    gpus: int, local_rank: int, ranks: int, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_device("auto", local_rank, ranks) == torch.device("cuda", index)
    assert choose_device("cpu", local_rank, ranks) == torch.device("cpu")


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="3 ranks on a node with 2 GPUs"):
        choose_device("cuda", 0, 3)


def test_ranks_that_share_their_only_gpu_are_named() -> None:
    check_own_gpus(["n1 GPU-a", "n1 GPU-b", "n2 GPU-a"])
    with pytest.raises(UserError, match=r"n1: ranks 0, 2 see only one GPU, the same one"):
        check_own_gpus(["n1 GPU-a", "n1 GPU-b", "n1 GPU-a"])


@pytest.mark.parametrize(
    ("listed", "cores"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("\n", set()), ("x-y", set()), (None, set())]
)
def test_the_cores_near_a_device_are_read_from_sysfs(listed: str | None, cores: set[int], tmp_path: Path) -> None:
    (tmp_path / "0000:17:00.0").mkdir()
    if listed is not None:
        (tmp_path / "0000:17:00.0" / "local_cpulist").write_text(listed)
    assert nearby_cores("0000:17:00.0", tmp_path) == cores


@pytest.mark.parametrize(
    ("near", "allowed", "ranks", "bound"),
    [
        ("0-31", set(range(64)), 8, set(range(32))),
        ("0-31", set(range(16, 24)), 1, None),  # the scheduler's choice is narrower already
        ("0-31", set(range(32, 40)), 1, None),  # or elsewhere
        ("0-1", set(range(64)), 8, None),  # less than a rank's share
    ],
)
def test_a_process_is_bound_to_near_cores_that_it_may_use(
    near: str, allowed: set[int], ranks: int, bound: set[int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[int]] = []
    properties = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x17, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: asked.append(cores))
    (tmp_path / "0000:17:00.0").mkdir()
    (tmp_path / "0000:17:00.0" / "local_cpulist").write_text(near)
    monkeypatch.setattr(devices, "nearby_cores", lambda address: nearby_cores(address, tmp_path))
    bind_to_nearby_cores(GPU, ranks)
    assert asked == ([bound] if bound else [])
