"""AdamW's update (Loshchilov and Hutter 2019) in one pass over memory: reads bf16 gradients, writes bf16 weights."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

# Added before the low 16 bits are cut off; where the last kept bit is odd, one more is added: round half to even.
HALF_UNIT = 0x7FFF


def _bitcast(to: Any, of: Any) -> Any:
    """Return a function that reinterprets the bits of an `of` as a `to`."""

    @intrinsic
    def cast(_context: Any, _number: Any) -> Any:
        return to(of), lambda context, builder, _, arguments: builder.bitcast(arguments[0], context.get_value_type(to))

    return cast


_float_of, _bits_of = _bitcast(types.float32, types.uint32), _bitcast(types.uint32, types.float32)


@numba.njit(nogil=True, error_model="numpy", cache="NUMBA_CACHE_DIR" in os.environ)  # as in `pretrain/data/gather.py`
def adamw_update(
    gradient: NDArray[np.uint16],
    weight: NDArray[np.uint16],
    master: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    factors: NDArray[np.float32],
) -> None:
    """Run one step in place. bf16 numbers are passed as their bits; `factors` are the fields of `Factors`, in order."""
    scale, decay, beta1, new1, beta2, new2, step, correction, epsilon = factors
    for place in range(len(master)):
        grad = _float_of(np.uint32(gradient[place]) << np.uint32(16)) * scale
        mean[place] = beta1 * mean[place] + new1 * grad
        square[place] = beta2 * square[place] + new2 * grad * grad
        change = mean[place] / (np.sqrt(square[place]) * correction + epsilon)
        number = master[place] * decay - step * change
        master[place] = number
        bits = _bits_of(number)
        odd = bits >> np.uint32(16) & np.uint32(1)
        weight[place] = np.uint16((bits + np.uint32(HALF_UNIT) + odd) >> np.uint32(16))
