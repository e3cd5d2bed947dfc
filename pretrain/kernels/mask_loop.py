"""The dropout mask of `dropout.py` as a loop that numba compiles; compiling takes half a second."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pretrain.kernels.philox import HALF, KEY_INCREMENTS, MULTIPLIERS, ROUNDS


@numba.njit(nogil=True, cache="NUMBA_CACHE_DIR" in os.environ)  # as in `pretrain/data/gather.py`
def fill_mask(mask: NDArray[Any], seed: int, site: int, threshold: int, one: Any) -> None:
    """Fill `mask` by Philox in 32-bit arithmetic, so that the loop over columns compiles to vector instructions."""
    for group in range(mask.shape[0]):
        for column in range(mask.shape[2]):
            c0, c1, c2, c3 = np.uint32(column), np.uint32(group), np.uint32(site), np.uint32(0)
            k0, k1 = np.uint32(seed), np.uint32(seed >> 32)
            for _ in range(ROUNDS):
                product_0 = np.uint64(c0) * np.uint64(MULTIPLIERS[0])
                product_1 = np.uint64(c2) * np.uint64(MULTIPLIERS[1])
                c0 = np.uint32(np.uint32(product_1 >> np.uint64(32)) ^ c1 ^ k0)
                c1 = np.uint32(product_1)
                c2 = np.uint32(np.uint32(product_0 >> np.uint64(32)) ^ c3 ^ k1)
                c3 = np.uint32(product_0)
                k0 = np.uint32(k0 + np.uint32(KEY_INCREMENTS[0]))
                k1 = np.uint32(k1 + np.uint32(KEY_INCREMENTS[1]))
            for lane, word in enumerate((c0, c1, c2, c3)):
                mask[group, lane, column] = one if word & HALF >= threshold else 0
                mask[group, lane + 4, column] = one if word >> 16 & HALF >= threshold else 0
