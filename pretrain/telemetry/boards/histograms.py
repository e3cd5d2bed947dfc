"""Histograms of a model's weights and gradients, for TensorBoard.

Each rank counts the elements whose master weights it saves, so that no tensor is collected, and the counts are added
over all ranks: the same histograms at every ZeRO stage.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from pretrain.engine import Engine

_PER_OCTAVE = 4
_SIZES = [2.0 ** (power / _PER_OCTAVE) for power in range(-30 * _PER_OCTAVE, 20 * _PER_OCTAVE + 1)]
LIMITS = [*(-size for size in reversed(_SIZES)), 0.0, *_SIZES, sys.float_info.max]  # upper limit of each bucket
_AT_ONCE = 1 << 22  # elements, which bounds the memory for counting


@dataclass(frozen=True)
class Histogram:
    """The values of one tensor. `counts[i]` of them are at most `limits[i]` and above the limit before."""

    least: float
    greatest: float
    count: int
    total: float
    squares: float
    limits: list[float]
    counts: list[int]


class Histograms:
    """Counts the weights and gradients of every `every_steps`-th step of an engine; of none with 0."""

    def __init__(self, engine: Engine, every_steps: int) -> None:
        self._engine = engine
        self._every_steps = every_steps
        self._gradients: _Tally | None = None

    def begin(self, step: int) -> None:
        """Count the gradients of the engine's next step, which is `step`, if it is due."""
        is_due = self._every_steps > 0 and step % self._every_steps == 0
        self._gradients = _Tally(self._engine) if is_due else None
        self._engine.read_gradient = self._gradients.add if self._gradients else None

    def of_step(self) -> dict[str, Histogram]:
        """Return the histograms of the step by tag, or none if it was not due. A collective.

        Gradients are those of the update, after clipping. A skipped step has none.
        """
        gradients, self._gradients, self._engine.read_gradient = self._gradients, None, None
        if gradients is None:
            return {}
        weights = _Tally(self._engine)
        for fragment in self._engine.partition.saved:
            weights.add(fragment.name, fragment.master)
        tallies = {"weights": weights, "gradients": gradients}
        return {f"{kind}/{name}": found for kind, tally in tallies.items() for name, found in tally.over_all_ranks()}


class _Tally:
    """Counts of values by size: one histogram per parameter, in the order of the engine's names on every rank."""

    def __init__(self, engine: Engine) -> None:
        device = engine.world.device
        self._rows = {name: row for row, name in enumerate(engine.shapes)}
        self._limits = torch.tensor(LIMITS, device=device, dtype=torch.float32)
        self._counts = torch.zeros(len(self._rows), len(LIMITS), device=device, dtype=torch.int64)
        self._sums = torch.zeros(len(self._rows), 2, device=device, dtype=torch.float64)  # of values and their squares
        self._extremes = torch.full((len(self._rows), 2), -math.inf, device=device)  # -least, greatest

    @torch.no_grad()
    def add(self, name: str, values: Tensor) -> None:
        """Count the values of a parameter."""
        row = self._rows[name]
        for some in torch.split(values.to(self._limits.device, torch.float32), _AT_ONCE):
            buckets = torch.bucketize(some, self._limits, out_int32=True).clamp_(max=len(LIMITS) - 1)  # NaN is beyond
            self._counts[row] += torch.bincount(buckets, minlength=len(LIMITS))
            self._sums[row] += torch.stack([some.sum(dtype=torch.float64), some.square().sum(dtype=torch.float64)])
            self._extremes[row] = torch.maximum(self._extremes[row], torch.stack([-some.min(), some.max()]))

    def over_all_ranks(self) -> Iterator[tuple[str, Histogram]]:
        """Yield the histogram of each parameter that has finite values. A collective."""
        for each, operation in (
            (self._counts, torch.distributed.ReduceOp.SUM),
            (self._sums, torch.distributed.ReduceOp.SUM),
            (self._extremes, torch.distributed.ReduceOp.MAX),
        ):
            torch.distributed.all_reduce(each, operation)
        table = zip(self._rows, self._counts.cpu(), self._sums.tolist(), self._extremes.tolist(), strict=True)
        for name, counts, (total, squares), (negated_least, greatest) in table:
            filled = counts.nonzero()
            if len(filled) and math.isfinite(total) and math.isfinite(squares):
                first, last = int(filled[0]), int(filled[-1])
                yield (
                    name,
                    Histogram(
                        -negated_least,
                        greatest,
                        int(counts.sum()),
                        total,
                        squares,
                        LIMITS[first : last + 1],
                        counts[first : last + 1].tolist(),
                    ),
                )
