"""Compare the fused operations with torch's own: `python -m tests.benchmarks.kernels`.

Each operation runs forward and backward. The peers alternate within each round. Times are medians:

    ours      the result of `choose_kernels` on this device: Triton kernels on a GPU, the references on a CPU
    eager     the same operation built from torch's operations, with `F.dropout`
    compiled  the eager peer under torch.compile

`bytes` is the memory traffic of an operation if nothing is read or written twice, and `floating` its floating-point
work in matrix products. `roofline_pct` is the time that the slower of the two takes at the device's published rates
(`RATES`), in % of the measured time. A CPU runs small shapes and has no roofline here: its figures only compare the
peers. With one thread they are CPU seconds, since the core can be shared. The last line is one JSON object; its
`ratio` is the geometric mean, over operations, of eager's time over ours.

`--sweep` instead times ours with other launch shapes (GPU only), one JSON line each, to choose the constants in
`pretrain/kernels/fused/launch.py`.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pretrain.kernels.attention import RowLayout
from pretrain.kernels.dispatch import Kernels, choose_kernels
from pretrain.kernels.dropout import Dropout
from pretrain.kernels.lamb import LambState, LambStep, Segments, trust_ratio

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
DTYPE = torch.bfloat16
# Bytes of memory and bf16 operations per second, as published for the SXM boards.
RATES = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100": (2.039e12, 312e12)}
DROPPED, EPSILON = 0.1, 1e-12
Peer = Callable[[], Tensor]


@dataclass(frozen=True)
class Shape:
    """BERT large on a GPU, with tensors larger than its cache; four layers of width 256 on a CPU."""

    rows: int = 512 if CUDA else 16
    length: int = 128
    hidden: int = 1024 if CUDA else 256
    heads: int = 16 if CUDA else 4
    vocabulary: int = 30_522
    masked: int = 20
    parameters: int = 100_000_000 if CUDA else 3_000_000

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class Case:
    """One operation: its peers, the inputs that need gradients, and its minimum memory traffic and work."""

    peers: dict[str, Peer]
    inputs: list[Tensor]
    bytes: tuple[int, int]  # forward, backward
    floating: tuple[int, int] = (0, 0)
    figures: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21 if CUDA else 7)
    parser.add_argument("--only", nargs="*", help="operations to run (default: all)")
    parser.add_argument("--sweep", action="store_true", help="time ours with other launch shapes")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.sweep:
        sweep(arguments.rounds)
        return
    kernels = choose_kernels(DEVICE.type)
    results = {}
    for name, make in CASES.items():
        if not arguments.only or name in arguments.only:
            results[name] = summary(measured(make(Shape(), kernels), arguments.rounds))
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
            torch.compiler.reset()
    ratios = [result["eager_ms"] / result["ours_ms"] for result in results.values() if "eager_ms" in result]
    print(
        json.dumps(
            {
                "benchmark": "kernels",
                "ratio": round(math.exp(statistics.fmean(map(math.log, ratios))), 3),
                "reference": "torch eager",
                "device": torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads",
                "torch": torch.__version__,
                "ours": kernels.name,
                "dtype": str(DTYPE).removeprefix("torch."),
                "roofline": "published" if rates() else None,
                "copy_gb_per_s": round(copy_rate() / 1e9),
                "operations": results,
            }
        )
    )


def normal(*shape: int, dtype: torch.dtype = DTYPE, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape, device=DEVICE) * scale).to(dtype).requires_grad_()


def dropout(site: int = 1) -> Dropout:
    return Dropout(DROPPED, torch.tensor(7, device=DEVICE), site)


def with_compiled(ours: Peer, eager: Peer) -> dict[str, Peer]:
    return {"ours": ours, "eager": eager, "compiled": torch.compile(eager)}


def embed(shape: Shape, kernels: Kernels) -> Case:
    tokens, hidden = shape.tokens, shape.hidden
    ids = torch.randint(shape.vocabulary, (tokens,), device=DEVICE)
    ids[torch.rand(tokens, device=DEVICE) < 0.12] = 103  # the usual share of [MASK]
    places = torch.arange(shape.length, device=DEVICE).repeat(shape.rows)
    types = places * 2 // shape.length
    word, place, kind = normal(shape.vocabulary, hidden), normal(512, hidden), normal(2, hidden)
    weight, shift = normal(hidden), normal(hidden)

    def eager() -> Tensor:
        total = F.embedding(ids, word) + F.embedding(places, place) + F.embedding(types, kind)
        return F.dropout(F.layer_norm(total, (hidden,), weight, shift, EPSILON), DROPPED)

    def ours() -> Tensor:
        return kernels.embed(ids, places, types, word, place, kind, weight, shift, EPSILON, dropout())

    row, table = 2 * tokens * hidden, 2 * shape.vocabulary * hidden
    return Case(with_compiled(ours, eager), [word, place, kind, weight, shift], (2 * row, 3 * row + table))


def add_norm(shape: Shape, kernels: Kernels) -> Case:
    tokens, hidden = shape.tokens, shape.hidden
    x, residual = normal(tokens, hidden), normal(tokens, hidden)
    bias, weight, shift = normal(hidden), normal(hidden), normal(hidden)

    def eager() -> Tensor:
        return F.layer_norm(residual + F.dropout(x + bias, DROPPED), (hidden,), weight, shift, EPSILON)

    def ours() -> Tensor:
        return kernels.add_norm(x, bias, residual, weight, shift, EPSILON, dropout())

    row = 2 * tokens * hidden
    return Case(with_compiled(ours, eager), [x, bias, residual, weight, shift], (3 * row, 5 * row))


def bias_gelu(shape: Shape, kernels: Kernels) -> Case:
    x, bias = normal(shape.tokens, 4 * shape.hidden), normal(4 * shape.hidden)
    row = 2 * x.numel()
    peers = with_compiled(lambda: kernels.bias_gelu(x, bias), lambda: F.gelu(x + bias))
    return Case(peers, [x, bias], (2 * row, 3 * row))


def masked_lm(shape: Shape, kernels: Kernels) -> Case:
    rows = shape.rows * shape.masked
    hidden = normal(rows, shape.hidden)
    decoder, bias = normal(shape.vocabulary, shape.hidden, scale=0.02), normal(shape.vocabulary)
    labels = torch.randint(shape.vocabulary, (rows,), device=DEVICE)

    def eager() -> Tensor:
        logits = F.linear(hidden, decoder, bias).float()
        eager_correct[0] = (logits.argmax(-1) == labels).sum()
        return F.cross_entropy(logits, labels, reduction="sum")

    eager_correct = [torch.zeros(())]
    product = 2 * rows * shape.vocabulary * shape.hidden
    logits_bytes, table = 2 * rows * shape.vocabulary, 2 * decoder.numel()
    peers = with_compiled(lambda: kernels.masked_lm(hidden, decoder, bias, labels).loss, eager)
    if hasattr(F, "linear_cross_entropy") and CUDA:  # on a CPU it takes twenty times the time of eager
        options = torch.nn.LinearCrossEntropyOptions()
        peers["linear_cross_entropy"] = lambda: F.linear_cross_entropy(
            hidden, decoder, labels, linear_bias=bias, reduction="sum", options=options
        )
    # Ours computes the gradients in the forward pass, so `summary` adds both times.
    return Case(peers, [hidden, decoder, bias], (2 * logits_bytes + table, 2 * table), (product, 2 * product))


def attend(shape: Shape, kernels: Kernels, probability: float = 0.0) -> Case:
    lengths = torch.randint(shape.length // 2, shape.length + 1, (shape.rows,)).clamp(max=shape.length)
    lengths[: shape.rows * 3 // 4] = shape.length
    tokens, width = int(lengths.sum()), shape.hidden // shape.heads
    offsets = F.pad(lengths.cumsum(0), (1, 0)).to(DEVICE, torch.int32)
    layout = RowLayout(offsets, tokens, shape.length)
    qkv = normal(tokens, 3, shape.heads, width)
    mask = (torch.arange(shape.length) < lengths[:, None])[:, None, None].to(DEVICE)
    padded = normal(shape.rows, shape.length, 3, shape.heads, width)
    drop = dropout() if probability else None

    def eager() -> Tensor:
        query, key, value = padded.permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=probability)

    flops = 4 * int((lengths**2).sum()) * shape.hidden
    bytes_ = 2 * tokens * shape.hidden
    peers: dict[str, Peer] = {"ours": lambda: kernels.attend(qkv, layout, drop), "eager": eager}
    return Case(peers, [qkv, padded], (4 * bytes_, 8 * bytes_), (flops, flops * 5 // 2))


def lamb(shape: Shape, kernels: Kernels) -> Case:
    """A step over tensors with a layer's sizes. `eager` is the paper's algorithm per tensor, with foreach."""
    sizes = [shape.hidden**2] * 4 + [4 * shape.hidden**2] * 2
    sizes *= max(shape.parameters // sum(sizes), 1)
    segments = Segments([0, *itertools.accumulate(sizes)], DEVICE)
    flat = [torch.rand(sum(sizes), device=DEVICE) for _ in range(4)]
    state, gradient = LambState(*flat[:3]), flat[3]
    step = LambStep(10, 1e-3, 0.9, 0.999, 1e-6, 0.01)
    parts = [list(torch.split(tensor, sizes)) for tensor in flat]

    def ours() -> Tensor:
        squares = kernels.lamb_moments(state, gradient, segments, step)
        kernels.lamb_update(state, trust_ratio(squares), segments, step)
        return squares

    def eager() -> Tensor:
        master, average, square, some = parts
        first, second = step.corrections
        torch._foreach_lerp_(average, some, 1 - step.beta1)
        torch._foreach_mul_(square, step.beta2)
        torch._foreach_addcmul_(square, some, some, 1 - step.beta2)
        update = torch._foreach_div(square, second)
        torch._foreach_sqrt_(update)
        torch._foreach_add_(update, step.epsilon)
        update = torch._foreach_div(torch._foreach_div(average, first), update)
        torch._foreach_add_(update, master, alpha=step.weight_decay)
        ratios = torch._foreach_div(torch._foreach_norm(master), torch._foreach_norm(update))
        torch._foreach_mul_(update, [ratio * -step.learning_rate for ratio in ratios])
        torch._foreach_add_(master, update)
        return ratios[0]

    return Case({"ours": ours, "eager": eager}, [], (40 * sum(sizes), 0))


def adamw(shape: Shape, kernels: Kernels) -> Case:
    """torch's fused AdamW on one flat tensor. We use it unchanged, so only its roofline percentage matters."""
    weights = torch.rand(shape.parameters, device=DEVICE, requires_grad=True)
    weights.grad = torch.rand_like(weights)
    optimizer = torch.optim.AdamW([weights], fused=True)

    def library() -> Tensor:
        optimizer.step()
        return weights

    return Case({"ours": library}, [], (28 * shape.parameters, 0))


CASES: dict[str, Callable[[Shape, Kernels], Case]] = {
    "embed": embed,
    "add_norm": add_norm,
    "bias_gelu": bias_gelu,
    "masked_lm": masked_lm,
    "attend": attend,
    "attend_dropout": lambda shape, kernels: attend(shape, kernels, DROPPED),
    "attend_512": lambda shape, kernels: attend(longer(shape), kernels),
    "lamb": lamb,
    "adamw": adamw,
}


def longer(shape: Shape) -> Shape:
    """Return the shape with the same tokens in rows of 512."""
    return Shape(rows=max(shape.rows // 4, 1), length=512)


def measured(case: Case, rounds: int) -> Case:
    """Run every peer once per round, so that a slow moment of the machine affects all peers."""
    for turn in range(rounds + 3):  # the first three rounds compile and warm up
        for name, peer in case.peers.items():
            times = once(peer, case.inputs)
            if turn >= 3:
                case.figures.setdefault(name, []).append(times)
    return case


def once(peer: Peer, inputs: list[Tensor]) -> tuple[float, float]:
    """Return the seconds of forward and of backward."""
    for tensor in inputs:
        tensor.grad = None
    marks = [clock()]
    result = peer()
    marks.append(clock())
    if inputs:
        gradient = torch.ones_like(result)
        begun = clock()
        torch.autograd.backward(result, gradient)
        marks += [begun, clock()]
    return elapsed(marks[0], marks[1]), elapsed(*marks[2:]) if inputs else 0.0


def clock() -> Any:
    """Return a timestamp; on a GPU an event, for which the host does not wait."""
    if not CUDA:
        return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types
    event.record()
    return event


def elapsed(begun: Any, ended: Any) -> float:
    """Return the seconds between two timestamps."""
    if not CUDA:
        return float(ended - begun)
    ended.synchronize()
    return float(begun.elapsed_time(ended)) / 1e3


def summary(case: Case) -> dict[str, float]:
    """Return median times in ms and the roofline percentage."""
    result: dict[str, float] = {}
    for name, times in case.figures.items():
        forward, backward = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        result[f"{name}_ms"] = round(forward + backward, 4)
        result[f"{name}_forward_ms"] = round(forward, 4)
    result["megabytes"] = round(sum(case.bytes) / 1e6, 1)
    if published := rates():
        seconds = [max(b / published[0], f / published[1]) for b, f in zip(case.bytes, case.floating, strict=True)]
        for name in case.figures:
            result[f"{name}_roofline_pct"] = round(100e3 * sum(seconds) / result[f"{name}_ms"], 1)
    return result


def rates() -> tuple[float, float] | None:
    name = torch.cuda.get_device_name() if CUDA else ""
    return next((rate for board, rate in RATES.items() if board in name), None)


def copy_rate() -> float:
    """Return the bytes per second that a plain copy reads and writes: the memory bandwidth of this device."""
    source = torch.empty((1 << 30) if CUDA else (1 << 26), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() / min(once(lambda: target.copy_(source), [])[0] for _ in range(10))


def sweep(rounds: int) -> None:
    """Time only ours, with other launch shapes."""
    kernels = choose_kernels("cuda", "triton")
    for name, settings in sweeps():
        for target, value in settings.items():
            module, _, constant = target.rpartition(".")
            setattr(importlib.import_module(f"pretrain.kernels.fused.{module}"), constant, value)
        case = CASES[name](Shape(), kernels)
        case = Case({"ours": case.peers["ours"]}, case.inputs, case.bytes, case.floating)
        print(json.dumps({"operation": name, **settings, **summary(measured(case, rounds))}), flush=True)


def sweeps() -> Iterator[tuple[str, dict[str, int]]]:
    for elements, registers in itertools.product((8, 16, 32), (96, 128, 168, 255)):
        yield "add_norm", {"launch.ELEMENTS_PER_THREAD": elements, "launch.WALK_REGISTERS": registers}
    for forward, backward, warps in itertools.product((1, 2, 4), (1, 2, 4), (4, 8)):
        yield "bias_gelu", {"gelu.FORWARD_ROWS": forward, "gelu.BACKWARD_ROWS": backward, "gelu.WARPS": warps}
    for block, warps in ((4096, 4), (4096, 8), (8192, 8), (8192, 16), (16384, 16)):
        yield "masked_lm", {"masked_lm.ROW_BLOCK": block, "masked_lm.ROW_WARPS": warps}


if __name__ == "__main__":
    main()
