"""Random numbers that depend only on a key and a counter, never on order, process or time.

A key is computed from what it identifies (the seed, a document's digest, a pass, ...). The numbers drawn with it are
the SplitMix64 sequence that starts at the key (Steele, Lea and Flood 2014): number *n* is a mix of key + n·γ. The state
of a sequence is an array of one uint64, so that compiled functions can draw one number after another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled

RandomState = NDArray[np.uint64]  # [1]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ABSORBED = np.uint64(0xD1B54A32D192ED03)  # separates absorbed values from the multiples of gamma
_LOW_BITS = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def document_keys(seed: int, digests: NDArray[np.uint8], copies: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one key per document, from the seed, its digest (a row of 32 bytes) and the number of its copy."""
    words = np.ascontiguousarray(digests).view("<u8").astype(np.uint64)
    return _document_keys(np.uint64(seed), words, copies.astype(np.uint64))


@compiled
def _document_keys(seed: np.uint64, digests: NDArray[np.uint64], copies: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keys = np.empty(len(copies), np.uint64)
    for document in range(len(copies)):
        key = absorb(seed, copies[document])
        for word in range(digests.shape[1]):
            key = absorb(key, digests[document, word])
        keys[document] = key
    return keys


@compiled
def absorb(key: np.uint64, value: np.uint64) -> np.uint64:
    """Return the key that identifies the pair of what `key` identifies and `value`."""
    return _mix(key ^ _mix(value + _ABSORBED))


@compiled
def draw_bits(state: RandomState) -> np.uint64:
    """Draw 64 random bits."""
    state[0] += _GAMMA
    return _mix(state[0])


@compiled
def draw_fraction(state: RandomState) -> float:
    """Draw a float in [0, 1), a multiple of 2⁻⁵³."""
    return float(draw_bits(state) >> np.uint64(11)) * 2.0**-53


@compiled
def draw_below(state: RandomState, bound: int) -> int:
    """Draw an integer in [0, bound), for bounds up to 2³².

    The integer is the high word of 64 random bits times the bound (Lemire 2019, without rejection). The probability of
    each value differs from 1 / bound by at most 2⁻⁶⁴, which no test can detect.
    """
    bits = draw_bits(state)
    low = ((bits & _LOW_BITS) * np.uint64(bound)) >> _HALF
    high = (bits >> _HALF) * np.uint64(bound)
    return int(np.int64((high + low) >> _HALF))  # numba's int() alone would leave it unsigned


@compiled
def _mix(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
