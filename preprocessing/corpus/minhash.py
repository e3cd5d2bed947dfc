"""MinHash signatures of documents' word n-grams, and the bands that select candidates for near duplicates.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman, "Mining
of Massive Datasets", chapter 3. datasketch computes the signatures and chooses the bands.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 128  # numbers in a signature; estimates of similarity are accurate to about 0.04
_RUN_WORDS = 5
_AT_ONCE = 4_096  # n-grams per call, each of which takes datasketch a row of `PERMUTATIONS` numbers
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # a character is a word
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with well-mixed bits

Signatures = NDArray[np.uint32]


def require_datasketch() -> None:
    """Raise `UserError` unless datasketch is installed."""
    try:
        import datasketch  # noqa: F401  # the import takes seconds, and only near duplicates need it
    except ImportError as error:
        fix = "pip install 'bertrain[near]', or set data.duplicates=\"exact\""
        raise UserError("near duplicates need datasketch", place="data.duplicates", fix=fix) from error


def signature(text: str) -> Signatures:
    """Return the MinHash of a cleaned text's word 5-grams, ignoring case and punctuation; uint32 [PERMUTATIONS]."""
    minhash = _empty_minhash().copy()
    runs = np.unique(_run_hashes(text)).tolist()
    for start in range(0, len(runs), _AT_ONCE):
        minhash.update_batch(runs[start : start + _AT_ONCE])
    values: Signatures = minhash.hashvalues
    return values


def bands(threshold: float) -> list[slice]:
    """Return the bands: slices of a signature, at least one of which is equal in most pairs that reach `threshold`.

    Recall has nine times the weight of precision, because the candidates are compared afterwards.
    """
    from datasketch import MinHashLSH

    found = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    return [slice(start, start + found.r) for start in range(0, found.b * found.r, found.r)]


def band_keys(signatures: Signatures, band: slice) -> NDArray[np.uint64]:
    """Return a key for each row of [documents, PERMUTATIONS], computed from its values in the band."""
    return _mix(signatures[:, band].astype(np.uint64).T)


def are_similar(some: Signatures, others: Signatures, threshold: float) -> NDArray[np.bool_]:
    """Return for each pair of rows whether their estimated Jaccard similarity is at least `threshold`."""
    return np.asarray((some == others).mean(axis=1) >= threshold)


@cache
def _empty_minhash() -> MinHash:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32", hashfunc=int)


def _run_hashes(text: str) -> NDArray[np.uint32]:
    """Return a hash for each run of words. A text of fewer words than a run is one run."""
    words = _WORD.findall(text.lower()) or [text]
    hashes = np.fromiter((crc32(word.encode()) for word in words), np.uint64, len(words))
    length = min(_RUN_WORDS, len(words))
    runs = _mix(np.lib.stride_tricks.sliding_window_view(hashes, length).T)
    return (runs >> np.uint64(32)).astype(np.uint32)


def _mix(rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Combine the rows of an array into one row of hashes. Each depends on all elements of its column, in order."""
    mixed = np.zeros(rows.shape[1], np.uint64)
    for row in rows:
        mixed = (mixed ^ row) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed
