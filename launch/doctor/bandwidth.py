"""Measure the all-reduce bandwidth between ranks, with the backends of training: NCCL on GPUs, gloo on CPUs.

python -m launch.doctor.bandwidth FILE RANK WORLD DEVICE       one rank; DEVICE is cpu, or the number of a GPU

The ranks meet through FILE, in a folder that all of them can read: rank 0 writes its addresses there, and each other
rank uses the first one that it can reach. Rank 0 prints the result: GB that each rank sends per second in an all-reduce
with the ring algorithm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from configs.files import atomic_write_text
from launch.ranks import can_connect, interface_towards, own_addresses

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch names it in no __all__

BYTES = 64 << 20
ROUNDS = 5
PATIENCE_S = 60.0


def measure_here(ranks: int, device: str) -> float:
    """Return GB/s per rank between ranks of this machine, on its GPUs or its CPU. Raise `OSError` on failure."""
    with tempfile.TemporaryDirectory(prefix="bertrain-doctor-") as folder:
        devices = [str(rank) if device == "cuda" else "cpu" for rank in range(ranks)]
        return _result([start_rank(Path(folder, "meeting"), rank, ranks, name) for rank, name in enumerate(devices)])


def measure_with(meeting: Path, rank: int, ranks: int, device: str) -> float | None:
    """Return GB/s per rank between machines, one rank per machine, on rank 0; None on the others."""
    result = _result([start_rank(meeting, rank, ranks, "0" if device == "cuda" else "cpu")])
    return result if rank == 0 else None


def start_rank(meeting: Path, rank: int, ranks: int, device: str) -> subprocess.Popen[str]:
    """Start the process of one rank."""
    argv = [sys.executable, "-P", "-m", "launch.doctor.bandwidth", str(meeting), str(rank), str(ranks), device]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _result(processes: Sequence[subprocess.Popen[str]]) -> float:
    deadline = time.monotonic() + 2 * PATIENCE_S
    try:
        ended = [process.communicate(timeout=max(0.0, deadline - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired:
        raise OSError("no answer") from None
    finally:
        for process in processes:
            process.kill()
    for process, (_, error) in zip(processes, ended, strict=True):
        if process.returncode:
            raise OSError(error.strip().rpartition("\n")[2][:200])
    return float(json.loads(ended[0][0] or "0"))


def main(meeting: Path, rank: int, ranks: int, device: str) -> None:
    """Connect to the other ranks, measure, and print the result on rank 0."""
    import torch
    from torch import distributed

    store = meet(meeting, rank, ranks)
    backend = "gloo" if device == "cpu" else "nccl"
    limit = timedelta(seconds=PATIENCE_S)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=limit)
    where = torch.device("cpu") if device == "cpu" else torch.device("cuda", int(device))
    payload = torch.ones(BYTES // 4, device=where)
    seconds = []
    for _ in range(ROUNDS + 1):
        distributed.barrier()
        began = time.perf_counter()
        distributed.all_reduce(payload)
        payload[0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    distributed.destroy_process_group()
    if rank == 0:
        sent = 2 * (ranks - 1) / ranks * BYTES
        sys.stdout.write(json.dumps(sent / min(seconds[1:]) / 1e9) + "\n")


def meet(meeting: Path, rank: int, ranks: int) -> TCPStore:
    """Return the store that all ranks share, and set the network interface that gloo uses to reach the others."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch names it in no __all__

    limit = timedelta(seconds=PATIENCE_S)
    if rank == 0:
        store = TCPStore("0.0.0.0", 0, ranks, is_master=True, timeout=limit, wait_for_workers=False)  # noqa: S104
        atomic_write_text(meeting, json.dumps([own_addresses(), store.port]))
        address = store.get("address").decode()
    else:
        address, port = _await_address(meeting)
        store = TCPStore(address, port, ranks, is_master=False, timeout=limit)
        store.set("address", address)
    os.environ["GLOO_SOCKET_IFNAME"] = interface_towards(address, store.port)
    return store


def _await_address(meeting: Path) -> tuple[str, int]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            addresses, port = json.loads(meeting.read_text(encoding="utf-8"))
            for address in addresses:
                if can_connect(address, port):
                    return address, port
        time.sleep(0.1)
    if not meeting.exists():
        raise OSError(f"{meeting.parent} is not a folder shared by all nodes")
    raise OSError(f"cannot reach the first node at {', '.join(addresses)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
