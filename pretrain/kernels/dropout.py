"""Dropout by a counter-based generator: a mask is a function of (seed, site, row, column) and is never stored.

Philox (see `philox.py`) turns the counter (column, row // 8, site, 0) under the key `seed` into four words. Each half
of a word, less its top bit, is a number of 15 bits: the low halves serve rows 0 to 3 of a group of eight, the high
halves rows 4 to 7. One call thus decides eight elements, in any order, on any device. An element is kept when its
number is at least the threshold, so the probability is a multiple of 2**-15, and the scale is exactly the inverse of
the share that is kept.

The same function exists in three forms: in plain torch here, as a CPU loop in `mask_loop.py`, and in Triton in
`fused/dropout.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.kernels.philox import HALF, LANE_BITS, LANES, LOW_32, philox

_BITS_OF = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}


class Dropout(NamedTuple):
    """One dropout site in one forward of one micro-batch. Pass None instead where nothing is dropped.

    `seed` is a zero-dimensional int64 tensor beside the activations: its value may change from step to step without a
    synchronisation, inside a captured CUDA graph too, but not between a forward and its backward, which draws the mask
    again (autograd notices). `site` tells the model's dropouts apart and stays the same from step to step.
    """

    probability: float
    seed: Tensor
    site: int

    @property
    def threshold(self) -> int:
        """Numbers below it are dropped."""
        if not 0.0 <= self.probability < 1.0:
            raise ValueError(f"a dropout probability lies in [0, 1), not {self.probability}")
        return min(round(self.probability * (1 << LANE_BITS)), (1 << LANE_BITS) - 1)

    @property
    def scale(self) -> float:
        """Factor of what is kept."""
        return (1 << LANE_BITS) / ((1 << LANE_BITS) - self.threshold)


def keep_mask(dropout: Dropout, rows: int, columns: int, dtype: torch.dtype = torch.bool) -> Tensor:
    """1 where an element of [rows, columns] is kept, 0 where it is dropped, on the seed's device."""
    groups = -(-rows // LANES)
    make = _mask_on_cpu if dropout.seed.device.type == "cpu" else plain_mask
    return make(dropout, groups, columns, dtype).view(groups * LANES, columns)[:rows]


def add_dropped(onto: Tensor, branch_TH: Tensor, dropout: Dropout | None) -> Tensor:
    """`onto + dropout(branch_TH)`, in one pass; what is kept is scaled in fp32 whatever the dtype."""
    if dropout is None:
        return onto + branch_TH
    columns = branch_TH.shape[-1]
    keep = keep_mask(dropout, branch_TH.numel() // columns, columns, branch_TH.dtype).view(branch_TH.shape)
    return torch.addcmul(onto, branch_TH, keep, value=dropout.scale)


def plain_mask(dropout: Dropout, groups: int, columns: int, dtype: torch.dtype) -> Tensor:
    """The mask [groups, LANES, columns] in plain torch, on any device, without a synchronisation."""
    seed = dropout.seed
    column = torch.arange(columns, device=seed.device)
    group = torch.arange(groups, device=seed.device)[:, None]
    site = torch.full_like(seed, dropout.site)
    words = philox((column, group, site, torch.zeros_like(seed)), (seed & LOW_32, seed >> 32 & LOW_32))
    lanes = [word & HALF for word in words] + [word >> 16 & HALF for word in words]
    return (torch.stack(lanes, dim=1) >= dropout.threshold).to(dtype)


def _mask_on_cpu(dropout: Dropout, groups: int, columns: int, dtype: torch.dtype) -> Tensor:
    """The same mask some thirty times faster than torch's own CPU dropout, written in the bits of `dtype`."""
    from pretrain.kernels.mask_loop import fill_mask  # imports numba, which a GPU does not need

    mask = torch.empty(groups, LANES, columns, dtype=dtype)
    bits = _BITS_OF[dtype.itemsize]
    one = torch.ones(1, dtype=dtype).view(bits).numpy()[0]
    fill_mask(mask.view(bits).numpy(), int(dropout.seed), dropout.site, dropout.threshold, one)
    return mask
