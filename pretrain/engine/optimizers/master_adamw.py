"""AdamW for bf16 weights with fp32 masters on a CPU: from bf16 gradients to bf16 weights in one pass over memory.

torch's AdamW accepts only fp32 gradients. It needs three more passes, to widen and clip the gradients and to round the
masters, and 50 % more memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers.groups import ensure_moments
from pretrain.engine.optimizers.kind import Groups, OnePassOptimizer


class Factors(NamedTuple):
    """The factors of an update."""

    scale: float  # of the gradients
    decay: float  # of the weights
    beta1: float
    new1: float  # 1 - beta1, computed before beta1 is rounded to fp32
    beta2: float
    new2: float
    step: float  # learning rate divided by the bias correction of the mean
    correction: float  # of the root of the mean square
    epsilon: float

    @classmethod
    def of(cls, group: dict[str, Any], scale: float) -> Factors:
        """Return the factors of a parameter group, whose `step` counts from 1."""
        beta1, beta2 = group["betas"]
        step, correction = (1 - beta ** group["step"] for beta in (beta1, beta2))
        decay = 1 - group["lr"] * group["weight_decay"]
        betas = (beta1, 1 - beta1, beta2, 1 - beta2)
        return cls(scale, decay, *betas, group["lr"] / step, correction**-0.5, group["eps"])


class Update(NamedTuple):
    """The arrays that a parameter's update reads and writes."""

    arrays: tuple[NDArray[Any], ...]  # gradient, weight (both as bits), master, mean, mean square; flat
    factors: NDArray[np.float32]

    def run(self, part: int, parts: int) -> None:
        """Update an even share of the elements."""
        from pretrain.kernels import adamw_update  # imports numba, which is not needed on a GPU

        size = len(self.arrays[0])
        start, stop = (size * edge // parts for edge in (part, part + 1))
        gradient, weight, master, mean, square = (array[start:stop] for array in self.arrays)
        adamw_update(gradient, weight, master, mean, square, self.factors)


class MasterAdamW(OnePassOptimizer, torch.optim.AdamW):
    """torch's AdamW for fp32 masters. If all gradients are bf16, it makes one pass over memory."""

    def __init__(self, groups: Groups, optimizer: OptimizerConfig) -> None:
        super().__init__(groups, lr=0.0, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.eps, fused=True)

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step, like torch's AdamW; closures are not supported."""
        assert closure is None
        if any(master.grad is not None and master.grad.dtype == torch.float32 for master in self.weights):
            self._step_wide()
            return
        updates, threads = list(self._updates()), torch.get_num_threads()

        def run(part: int) -> None:
            for update in updates:
                update.run(part, threads)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))

    def _step_wide(self) -> None:
        if self.scale != 1.0:
            torch._foreach_mul_([master.grad for master in self.weights if master.grad is not None], self.scale)
        super().step()
        torch._foreach_copy_(list(self.weights.values()), list(self.weights))

    def _updates(self) -> Iterator[Update]:
        for group in self.param_groups:
            factors = np.array(Factors.of(group, self.scale), dtype=np.float32)
            for master in group["params"]:
                state = ensure_moments(self, master)
                state["step"].fill_(group["step"])
                narrow = (master.grad.contiguous(), self.weights[master].detach())
                bits = (tensor.view(torch.uint16) for tensor in narrow)
                tensors = (*bits, master.detach(), state["exp_avg"], state["exp_avg_sq"])
                yield Update(tuple(tensor.view(-1).numpy() for tensor in tensors), factors)
