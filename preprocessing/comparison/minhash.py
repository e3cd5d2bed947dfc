"""MinHash signatures of documents' word n-grams, and the bands that select candidates for near duplicates.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman, "Mining
of Massive Datasets", chapter 3. datasketch computes the signatures and chooses the bands.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.machine import install_extra
from preprocessing.comparison.words import mixed, run_hashes, word_hashes

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 128  # numbers in a signature; estimates of similarity are accurate to about 0.04
_RUN_WORDS = 5
_AT_ONCE = 4_096  # n-grams per call, each of which takes datasketch a row of `PERMUTATIONS` numbers

Signatures = NDArray[np.uint32]


def require_datasketch() -> None:
    """Raise `UserError` unless datasketch is installed."""
    try:
        import datasketch  # noqa: F401  # the import takes seconds, and only near duplicates need it
    except ImportError as error:
        fix = f'{install_extra("near")}; or set data.duplicates="exact"'
        raise UserError("near duplicates need datasketch", place="data.duplicates", fix=fix) from error


def signature(text: str) -> Signatures:
    """Return the MinHash of a cleaned text's word 5-grams, ignoring case and punctuation; uint32 [PERMUTATIONS]."""
    minhash = _empty_minhash().copy()
    runs = np.unique(_short_run_hashes(text)).tolist()
    for start in range(0, len(runs), _AT_ONCE):
        minhash.update_batch(runs[start : start + _AT_ONCE])
    values: Signatures = minhash.hashvalues
    return values


@cache
def bands(threshold: float) -> tuple[slice, ...]:
    """Return the bands: slices of a signature, at least one of which is equal in most pairs that reach `threshold`.

    Recall has nine times the weight of precision, because the candidates are compared afterwards.
    """
    from datasketch import MinHashLSH

    found = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    return tuple(slice(start, start + found.r) for start in range(0, found.b * found.r, found.r))


def band_keys(signatures: Signatures, band: slice) -> NDArray[np.uint64]:
    """Return a key for each row of [documents, PERMUTATIONS], computed from its values in the band."""
    return mixed(signatures[:, band].astype(np.uint64).T)


def are_similar(some: Signatures, others: Signatures, threshold: float) -> NDArray[np.bool_]:
    """Return for each pair of rows whether their estimated Jaccard similarity is at least `threshold`."""
    return np.asarray((some == others).mean(axis=1) >= threshold)


@cache
def _empty_minhash() -> MinHash:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32", hashfunc=int)


def _short_run_hashes(text: str) -> NDArray[np.uint32]:
    """Return a hash for each run of words. A text of fewer words than a run is one run."""
    words = word_hashes(text)
    return (run_hashes(words, min(_RUN_WORDS, len(words))) >> np.uint64(32)).astype(np.uint32)
