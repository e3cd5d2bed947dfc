"""Ranks: their identity, process group, seeds, and small collectives.

GPU tensors are sent by NCCL, host values (stop flags, digests) by gloo, so that a collective on host values never waits
for the GPU. Every rank must call the same collectives in the same order.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed

from configs.errors import UserError
from configs.machine import threads_of_rank
from configs.schema import ClusterConfig
from pretrain.engine.devices import bind_to_nearby_cores, check_own_gpus, choose_device, gpu_name, keep_freed_memory
from pretrain.engine.meeting import leave, meet

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# On a CPU, matrix products are compiled for their shapes, and oneDNN and torch cache 1,024 of them each. With ragged
# rows, whose shapes rarely repeat, that takes a gigabyte. A step has about forty shapes. Both caches read their size at
# the first product.
CPU_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CACHED_SHAPES = 64

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place among the ranks; `device` holds its part of the model."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def discover() -> World:
    """Return this process's place among the ranks, from torchrun's environment variables.

    Without a launcher, the world has one rank. Raises `UserError` if only some of the variables are set, or if they
    are inconsistent. The device is the CPU until `join_process_group` selects it.
    """
    missing = [name for name in TORCHRUN if name not in os.environ]
    if {"RANK", "WORLD_SIZE"} <= set(missing):
        return World()
    if missing:
        raise _no_launcher(f"{', '.join(missing)} not set")
    try:
        rank, local_rank, world_size, local_world_size = (int(os.environ[name]) for name in TORCHRUN[:4])
    except ValueError as error:
        raise _no_launcher(str(error)) from error
    if not (0 <= rank < world_size and 0 <= local_rank < local_world_size <= world_size):
        raise _no_launcher(f"rank {rank} of {world_size}, and {local_rank} of {local_world_size} on its node")
    return World(rank, local_rank, world_size, local_world_size)


def join_process_group(cluster: ClusterConfig, run: Path | None = None) -> World:
    """Join the other ranks: select the device, divide the cores, and set up the process group.

    A collective that waits longer than `cluster.collective_timeout_s` for another rank fails. Raises `UserError` if
    the requested device is not available. The ranks of one node need neither a port nor a network. Those of several
    share the folder `run`.
    """
    world = discover()
    device = choose_device(cluster.device, world.local_rank, world.local_world_size)
    world = replace(world, device=device)
    torch.set_num_threads(cluster.cpu_threads or threads_of_rank(world.local_world_size))
    on_gpu = world.device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()
        for cache in CPU_CACHES:
            os.environ.setdefault(cache, str(CACHED_SHAPES))
    alone = world.world_size == 1
    if on_gpu:
        torch.cuda.set_device(world.device)
        bind_to_nearby_cores(world.device, world.local_world_size)
    limit = timedelta(seconds=cluster.collective_timeout_s)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        rank=world.rank,
        world_size=world.world_size,
        store=meet(world.rank, world.world_size, world.local_world_size, run, limit),
        timeout=limit,
        device_id=world.device if on_gpu and not alone else None,
    )
    if on_gpu and not alone:
        check_own_gpus(gather(gpu_name(world.device)))
    return world


def leave_process_group() -> None:
    """Leave the process group, if it is initialised."""
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
        torch.distributed.destroy_process_group()
        leave(rank)
        # DeepSpeed keeps a reference to the group, so that gloo's threads stay alive and can still hold tensors of the
        # last collective. Releasing them needs Python's lock and aborts the process during shutdown: yield it now.
        time.sleep(0.1)


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) without a process group."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def is_true_on_any_rank(flag: bool) -> bool:
    """Return, on all ranks, whether `flag` is true on at least one rank."""
    if not torch.distributed.is_initialized():
        return flag
    raised = torch.tensor(int(flag))
    torch.distributed.all_reduce(raised, op=torch.distributed.ReduceOp.MAX)
    return bool(raised.item())


def any_flag_and_first_values(flag: bool, *values: float) -> tuple[bool, list[float]]:
    """Return, on all ranks, whether `flag` is true on any rank, and rank 0's non-negative `values`."""
    if not torch.distributed.is_initialized():
        return flag, list(values)
    own = values if torch.distributed.get_rank() == 0 else [0.0] * len(values)
    maxima = torch.tensor([float(flag), *own], dtype=torch.float64)
    torch.distributed.all_reduce(maxima, op=torch.distributed.ReduceOp.MAX)
    raised, *first = maxima.tolist()
    return bool(raised), first


def gather(value: T) -> list[T]:
    """Return, on all ranks, every rank's (small) `value`, by rank; `[value]` without a process group.

    The value travels as JSON, so tuples become lists. Object collectives of torch would unpickle what another process
    sends, and run its code.
    """
    if not torch.distributed.is_initialized():
        return [value]
    text = json.dumps(value).encode()
    sizes = [int(size) for size in _all_gather(torch.tensor([len(text)]))]
    padded = torch.frombuffer(bytearray(text.ljust(max(sizes))), dtype=torch.uint8)
    return [json.loads(bytes(row.tolist())) for row in _all_gather(padded)]  # JSON ignores the spaces at the end


def _all_gather(own: torch.Tensor) -> list[torch.Tensor]:
    rows = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(rows, own)
    return rows


def seed_everything(seed: int) -> None:
    """Seed all generators that training can draw from, equally on all ranks, so that they build the same model."""
    random.seed(seed)
    torch.manual_seed(seed)


def seed_for(seed: int, step: int, micro_step: int, rank: int) -> int:
    """Return a distinct 63-bit seed for one rank's forward of one micro-batch.

    Dropout is reseeded from it before each forward, so that a checkpoint needs no generator state.
    """
    key = f"{seed} {step} {micro_step} {rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1


def _no_launcher(cause: str) -> UserError:
    return UserError(
        cause, place="the launcher's environment", fix="start ranks with `bertrain train` or torchrun, which set it"
    )
