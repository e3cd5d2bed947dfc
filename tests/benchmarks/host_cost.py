"""Count a step's device operations and measure its host time: `python -m tests.benchmarks.host_cost`. Needs no GPU.

    --zero-stage N    0 to 3 (default 0)
    --layers N        encoder layers (default 24, BERT-large)
    --norm post|pre
    --list            the operations of each part, by name

The model takes the path of a GPU: Triton launches are counted and not executed, and flash attention is a stand-in that
returns empty tensors. Widths are tiny, so that arithmetic costs next to nothing: the time is that of Python, autograd
and dispatch. A GPU adds 2.5 to 4 µs per launch (an estimate).

A device operation is an operator call that starts a kernel, or a Triton launch. Views and allocations are not counted.
A multi-tensor (`_foreach`) call counts as one; on a GPU it starts one kernel per few hundred tensors.

The last line is one JSON object. `ratio` is the number of operations of a micro-step (forward and backward) of
BERT-large before 2026-11-28 (`REFERENCE`) divided by the number counted now; null for another depth, norm or stage.
`step_operations` are those of the optimizer step. `host_ms` is the least thread time of several steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.jit import JITFunction  # type: ignore[import-untyped]

from configs.schema import ClusterConfig, ModelConfig, OptimizerConfig, TrainConfig
from pretrain.engine import Engine, engine, join_process_group
from pretrain.kernels import RowLayout, dispatch, linear
from pretrain.kernels.dropout import Dropout
from pretrain.model import BertForPreTraining, encoder
from tests.pretrain.batches import random_batch

TORCH = "2.13.0"
REFERENCE = {0: 1090, 1: 1390}  # by ZeRO stage
LAYERS = 24
ROUNDS = 15
FREE = frozenset(  # views and allocations
    """
    view detach t transpose unbind select slice as_strided alias empty empty_like new_empty split split_with_sizes
    expand unsqueeze squeeze _unsafe_view narrow permute reshape empty_strided _reshape_alias lift_fresh unflatten
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)


class OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Counts the operator calls inside its `with` block that start a kernel, by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name not in FREE and not name.startswith("profiler::") and not is_filling:
            self.calls[name] += 1
        return func(*args, **kwargs or {})


launches: Counter[str] = Counter()
is_filling = False  # a stand-in's result is being filled, which a GPU does not do


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zero-stage", type=int, default=0, choices=range(4))
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--norm", default="post", choices=("post", "pre"))
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args()
    step = _Step(chosen.layers, chosen.zero_stage, chosen.norm)
    counts = step.count()
    if chosen.list:
        for part, calls in counts.items():
            sys.stdout.write(f"{part}: {dict(calls.most_common())}\n")
    operations = counts["forward"].total() + counts["backward"].total()
    is_comparable = chosen.layers == LAYERS and chosen.norm == "post" and chosen.zero_stage in REFERENCE
    line = {
        "benchmark": "host_cost",
        "ratio": round(REFERENCE[chosen.zero_stage] / operations, 3) if is_comparable else None,
        "reference": f"device operations of a micro-step before 2026-11-28, with torch {TORCH}",
        "torch": torch.__version__,
        "layers": chosen.layers,
        "zero_stage": chosen.zero_stage,
        "norm": chosen.norm,
        "operations": operations,
        **{f"{part}_operations": calls.total() for part, calls in counts.items()},
        "host_ms": {part: round(1000 * seconds, 2) for part, seconds in step.time().items()},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    os._exit(0)  # DeepSpeed's shutdown takes seconds


class _Step:
    """A training step of one micro-batch on the path of a GPU."""

    def __init__(self, layers: int, zero_stage: int, norm: str) -> None:
        setattr(encoder, "choose_kernels", _as_on_a_gpu())  # noqa: B010  # not exported by that module
        engine._is_alone_on_a_cpu = lambda world: False  # a GPU has no optimizer of one pass
        torch.set_num_threads(1)
        world = join_process_group(ClusterConfig(device="cpu", cpu_threads=1))
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}
        config = ModelConfig.model_validate(sizes | {"num_hidden_layers": layers, "norm": norm})
        model = BertForPreTraining(config, 100, "nsp")
        train = {"zero_stage": zero_stage, "precision": "bf16", "global_batch_size": 2}
        self.engine = Engine(model, OptimizerConfig(), TrainConfig.model_validate(train), world)
        self.batch = random_batch(1, 4, vocabulary_size=100, max_seq_length=32)
        for _ in range(3):  # DeepSpeed does other work in its first steps
            self.step()

    def forward(self) -> Tensor:
        torch.manual_seed(1)
        mlm_loss, next_sentence_loss, *_ = self.engine.forward(self.batch)
        return (mlm_loss + next_sentence_loss) / 100

    def step(self) -> dict[str, float]:
        """Make a step and return each part's thread time in seconds."""
        clock = [time.thread_time()]
        loss = self.forward()
        clock.append(time.thread_time())
        self.engine.backward(loss, last=True)
        clock.append(time.thread_time())
        self.engine.step(0.0)
        clock.append(time.thread_time())
        return {part: clock[i + 1] - clock[i] for i, part in enumerate(("forward", "backward", "step"))}

    def count(self) -> dict[str, Counter[str]]:
        """Return the device operations of each part, by name."""
        counts: dict[str, Counter[str]] = {}
        with _counting(counts, "forward"):
            loss = self.forward()
        with _counting(counts, "backward"):
            self.engine.backward(loss, last=True)
        with _counting(counts, "step"):
            assert not self.engine.step(0.0).skipped
        return counts

    def time(self) -> dict[str, float]:
        """Return the least time of each part over several steps."""
        rounds = [self.step() for _ in range(ROUNDS)]
        return {part: min(seconds[part] for seconds in rounds) for part in rounds[0]}


@contextmanager
def _counting(counts: dict[str, Counter[str]], part: str) -> Iterator[None]:
    launches.clear()
    with OperatorCounter() as counter:
        yield
    counts[part] = counter.calls + launches


def _as_on_a_gpu() -> Callable[..., dispatch.Kernels]:
    """Make the fused kernels usable here: launches are counted only. Return a function that chooses them."""

    def count_launch(kernel: Any, *_: object, **__: object) -> None:
        launches[f"triton {kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"] += 1

    JITFunction.run = count_launch
    # A kernel that is not executed leaves its results as they were allocated: filled, so that the step is not skipped.
    torch.empty, torch.empty_like = _filled(torch.empty), _filled(torch.empty_like)
    linear._product = _product
    kernels = dataclasses.replace(dispatch._fused(), attend=_attend)
    return lambda *_: kernels


def _filled(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def allocate_zeros(*args: Any, **kwargs: Any) -> Tensor:
        global is_filling
        is_filling = True
        tensor = allocate(*args, **kwargs).zero_()
        is_filling = False
        return tensor

    return allocate_zeros


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Stand in for a product with a result in another dtype, which a CPU does not have."""
    launches["mm with a wider result" if dtype != left.dtype else "mm"] += 1
    return torch.empty(left.shape[0], right.shape[1], dtype=dtype)


def _attend(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    mixed: Tensor = _StandIn.apply(*qkv_T3AD.unbind(1))  # type: ignore[no-untyped-call]  # torch has no types
    return mixed


class _StandIn(torch.autograd.Function):
    """Flash attention's launches, with empty results."""

    @staticmethod
    def forward(ctx: Any, query_TAD: Tensor, key_TAD: Tensor, value_TAD: Tensor) -> Tensor:
        launches["flash attention"] += 1
        ctx.save_for_backward(query_TAD, key_TAD, value_TAD)
        return torch.empty_like(query_TAD)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, ...]:
        launches["flash attention backward"] += 1
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


if __name__ == "__main__":
    main()
