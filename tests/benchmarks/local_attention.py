"""Compare local attention with attention to the whole row: `python -m tests.benchmarks.local_attention`.

Each runs forward and backward on one row, in turns within each round; times are medians. On a CPU they are CPU seconds,
since the cores can be shared, and `kept_bytes_per_token` is what autograd keeps for the backward pass, without the
input: it stays the same at every length if memory is linear in tokens. On a GPU both are flash attention. The last line
is one JSON object; its `ratio` is full over local attention at the longest row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pretrain.kernels.attention import RowLayout
from pretrain.kernels.dispatch import choose_kernels

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WIDTH = 64  # of a head, as published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192], help="tokens of the row")
    parser.add_argument("--heads", type=int, default=12 if CUDA else 2)
    parser.add_argument("--window", type=int, default=128, help="tokens of the window")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--rounds", type=int, default=21 if CUDA else 3)
    chosen = parser.parse_args()
    lengths = {}
    for length in sorted(chosen.lengths):
        lengths[length] = compare(length, chosen.heads, chosen.window, DTYPES[chosen.dtype], chosen.rounds)
        print(length, json.dumps(lengths[length]), file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "benchmark": "local_attention",
                "ratio": lengths[max(lengths)]["ratio"],
                "reference": "attention to the whole row, of the same backend",
                "device": torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads",
                "torch": torch.__version__,
                "dtype": chosen.dtype,
                "heads": chosen.heads,
                "window": chosen.window,
                "lengths": lengths,
            }
        )
    )


def compare(length: int, heads: int, window: int, dtype: torch.dtype, rounds: int) -> dict[str, float]:
    """Return the times of both, the ratio, and what each keeps."""
    torch.manual_seed(0)
    kernels = choose_kernels(DEVICE.type)
    qkv = torch.randn(length, 3, heads, WIDTH, device=DEVICE).to(dtype).requires_grad_()
    offsets = torch.tensor([0, length], dtype=torch.int32, device=DEVICE)
    peers: dict[str, Callable[[], Tensor]] = {
        "local": lambda: kernels.attend_locally(qkv, RowLayout(offsets, length, length), window // 2, None),
        "full": lambda: kernels.attend(qkv, RowLayout(offsets, length, length), None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(rounds + 1):
        for name, peer in peers.items():
            taken = timed(peer, qkv)
            if number:  # the first round warms up
                seconds[name].append(taken)
    local_s, full_s = (statistics.median(seconds[name]) for name in ("local", "full"))
    times = {"local_ms": round(1e3 * local_s, 2), "full_ms": round(1e3 * full_s, 2)}
    figures = times | {"ratio": round(full_s / local_s, 2)}
    return figures | {f"{name}_kept_bytes_per_token": kept_bytes(peers[name], qkv) // length for name in peers}


def timed(peer: Callable[[], Tensor], qkv: Tensor) -> float:
    """Return the seconds of a forward and a backward: of the CPU, or until the GPU is done."""
    if CUDA:
        torch.cuda.synchronize()
    clock = time.perf_counter if CUDA else time.process_time
    began = clock()
    result = peer()
    torch.autograd.grad(result, [qkv], torch.ones_like(result))
    if CUDA:
        torch.cuda.synchronize()
    return clock() - began


def kept_bytes(peer: Callable[[], Tensor], qkv: Tensor) -> int:
    """Return the bytes that a forward keeps for its backward, without its input."""
    kept: dict[int, int] = {qkv.untyped_storage().data_ptr(): 0}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = peer()
    assert len(result) == len(qkv)
    return sum(kept.values())


if __name__ == "__main__":
    main()
