"""AdamW's update (Loshchilov and Hutter 2019) in one pass over memory: bf16 gradients in, bf16 weights out."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

HALF_UNIT = 0x7FFF  # and one more where the last bit kept is odd: ties go to even


def _bitcast(to: Any, of: Any) -> Any:
    """A number's bits as a number of another type."""

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
    """One step, in place. bf16 numbers come as their bits; `factors` are those of `Factors`, in their order."""
    scale, decay, beta1, new1, beta2, new2, step, correction, epsilon = factors
    for place in range(len(master)):
        slope = _float_of(np.uint32(gradient[place]) << np.uint32(16)) * scale
        mean[place] = beta1 * mean[place] + new1 * slope
        square[place] = beta2 * square[place] + new2 * slope * slope
        change = mean[place] / (np.sqrt(square[place]) * correction + epsilon)
        number = master[place] * decay - step * change
        master[place] = number
        bits = _bits_of(number)
        odd = bits >> np.uint32(16) & np.uint32(1)
        weight[place] = np.uint16((bits + np.uint32(HALF_UNIT) + odd) >> np.uint32(16))
