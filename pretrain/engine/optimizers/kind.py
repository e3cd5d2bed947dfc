"""The interface between the engine and an optimizer, in addition to torch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.schema import OptimizerConfig
from pretrain.kernels import Backend

Groups = list[dict[str, Any]]  # the result of `parameter_groups`


class FlatSlice(NamedTuple):
    """The location of a fragment: `length` elements from `start` on, in the tensor `weights` of the optimizer.

    They are the elements `offset`, `offset + 1` … of the flattened parameter `name`.
    """

    name: str
    offset: int
    weights: Tensor
    start: int
    length: int


class OnePassOptimizer(torch.optim.Optimizer):
    """An optimizer of fp32 masters that also accepts bf16 gradients and rounds the masters to the bf16 weights.

    It multiplies gradients by `scale`. `weights` maps masters to bf16 weights. The engine sets both.
    """

    weights: dict[Tensor, Tensor]
    scale = 1.0


def _ignore(*_: object, **__: object) -> None:
    """Do nothing: an elementwise optimizer does not need the locations of its elements."""


@dataclass(frozen=True)
class OptimizerKind:
    """One value of `optimizer.name`.

    `make` builds the optimizer for the groups of a complete model. The engine then replaces the groups' `params` by
    fp32 masters or by this rank's flat partitions. Before each step it sets `lr` and the step's number, `step` (from
    1), in each group. The optimizer's state is that of `ensure_moments`.
    """

    make: Callable[[Groups, OptimizerConfig, Backend], torch.optim.Optimizer]
    is_known_to_deepspeed: bool = False
    # Called before the first step with the optimizer, this rank's `FlatSlice`s, and `is_partitioned`: whether other
    # ranks hold the remaining elements.
    locate: Callable[..., None] = _ignore
    # A variant for one rank on a CPU in bf16, or None.
    make_one_pass: Callable[[Groups, OptimizerConfig], OnePassOptimizer] | None = None
