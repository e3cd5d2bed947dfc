"""LAMB (You et al., "Large batch optimization for deep learning", ICLR 2020, algorithm 2) at every ZeRO stage.

A step changes each tensor by `learning_rate * trust_ratio * update`: the update is AdamW's, including weight decay; the
trust ratio is the norm of the tensor's weights divided by the norm of its update. With ZeRO, a rank holds fragments of
tensors; the ranks therefore add their fragments' squared norms, in one all-reduce of two numbers per tensor, before any
weight changes.

Details that the paper leaves open follow the authors' code, with one exception:

- Biases and LayerNorm have neither weight decay nor trust ratio: they are trained by Adam.
- The trust ratio is not bounded (φ is the identity), and is 1 where the weights or the update are all zero.
- Queries, keys and values are three tensors, as in their code; here one parameter holds them, a third each.
- The moments have Adam's bias correction, as in algorithm 2; the authors' code omits it and relies on the warmup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers.groups import MOMENTS
from pretrain.engine.optimizers.kind import FlatSlice, Groups, OptimizerKind
from pretrain.kernels import Backend, LambState, LambStep, Segments, choose_kernels, trust_ratio

FUSED = {"qkv.weight": 3}  # parameters that hold several tensors of equal size, by the ends of their names


class FlatLayout(NamedTuple):
    """The tensors that a flat tensor holds elements of, in order, including padding."""

    segments: Segments  # S of them
    rows: Tensor  # int64 [S]: each segment's row in the table of squared norms


class Lamb(torch.optim.Optimizer):
    """LAMB for the `parameter_groups` of a complete model, whose parameters can then be replaced by partitions.

    Call `locate` before the first step. The engine sets each step's `lr` and number, `step` (from 1), in the groups.
    The state is AdamW's.
    """

    def __init__(self, groups: Groups, optimizer: OptimizerConfig, backend: Backend = "auto") -> None:
        betas = (optimizer.beta1, optimizer.beta2)
        super().__init__(groups, {"lr": 0.0, "betas": betas, "eps": optimizer.eps, "step": 0})
        self._backend = backend
        self._parts: dict[
            str, tuple[int, int]
        ] = {}  # adapted parameter: its first row, and the elements of each of its tensors
        self._no_row = 0  # the row after the last, shared by all elements without a trust ratio
        for group in groups:
            if group["adapted"]:
                self._number_rows(zip(group["names"], group["params"], strict=True))
        self._layouts: dict[Tensor, FlatLayout] = {}
        self._is_partitioned = False

    def locate(self, places: Iterable[FlatSlice], *, is_partitioned: bool) -> None:
        """Set the locations of this rank's elements. `is_partitioned`: other ranks hold the remaining ones."""
        self._is_partitioned = is_partitioned
        by_weights: defaultdict[Tensor, list[FlatSlice]] = defaultdict(list)
        for place in places:
            by_weights[place.weights].append(place)
        self._layouts = {weights: self._layout(weights, its_places) for weights, its_places in by_weights.items()}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure here
        """Make one step with the accumulated gradients. A collective if ranks hold partitions."""
        assert closure is None
        parts = [(group, weights) for group in self.param_groups for weights in group["params"]]
        kernels = choose_kernels(parts[0][1].device.type, self._backend)
        squares_R2 = torch.zeros(self._no_row + 1, 2, device=parts[0][1].device)
        for group, weights in parts:
            segments, rows_S = self._layout_of(weights)
            gradient = weights.grad.view(-1)
            squares_S2 = kernels.lamb_moments(self._state_of(weights), gradient, segments, _numbers(group))
            squares_R2.index_add_(0, rows_S, squares_S2)
        if self._is_partitioned and any(group["adapted"] for group, _ in parts):
            torch.distributed.all_reduce(squares_R2)
        ratio_R = trust_ratio(squares_R2)
        ratio_R[self._no_row] = 1.0
        for group, weights in parts:
            segments, rows_S = self._layout_of(weights)
            kernels.lamb_update(self._state_of(weights), ratio_R[rows_S], segments, _numbers(group))

    def _number_rows(self, named: Iterable[tuple[str, Tensor]]) -> None:
        for name, parameter in named:
            tensors = next((count for ending, count in FUSED.items() if name.endswith(ending)), 1)
            self._parts[name] = self._no_row, parameter.numel() // tensors
            self._no_row += tensors

    def _layout_of(self, weights: Tensor) -> FlatLayout:
        if weights not in self._layouts:  # only padding
            self._layouts[weights] = self._layout(weights, [])
        return self._layouts[weights]

    def _layout(self, weights: Tensor, places: list[FlatSlice]) -> FlatLayout:
        """Return the layout; elements between adapted tensors (padding, biases) share the row without trust ratio."""
        offsets, rows = [0], list[int]()
        for start, length, row in sorted(run for place in places for run in self._runs(place)):
            if start > offsets[-1]:
                offsets, rows = [*offsets, start], [*rows, self._no_row]
            offsets, rows = [*offsets, start + length], [*rows, row]
        if offsets[-1] < weights.numel():
            offsets, rows = [*offsets, weights.numel()], [*rows, self._no_row]
        return FlatLayout(
            Segments(offsets, weights.device), torch.tensor(rows, dtype=torch.int64, device=weights.device)
        )

    def _runs(self, place: FlatSlice) -> Iterator[tuple[int, int, int]]:
        """Yield the parts of a place that belong to one adapted tensor each: start, length, row."""
        if place.name not in self._parts:
            return
        first_row, size = self._parts[place.name]
        begin, end = place.offset, place.offset + place.length
        for part in range(begin // size, -(-end // size)):
            low, high = max(begin, part * size), min(end, (part + 1) * size)
            yield place.start + low - begin, high - low, first_row + part

    def _state_of(self, weights: Tensor) -> LambState:
        return LambState(weights.view(-1), *(self.state[weights][kind].view(-1) for kind in MOMENTS))


def _numbers(group: dict[str, Any]) -> LambStep:
    beta1, beta2 = group["betas"]
    return LambStep(group["step"], group["lr"], beta1, beta2, group["eps"], group["weight_decay"])


LAMB = OptimizerKind(make=Lamb, locate=Lamb.locate)
