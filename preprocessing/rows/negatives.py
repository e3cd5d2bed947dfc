"""Random next segments: pairs of equal lengths exchange their B, so that lengths do not reveal the label.

A coin for each pair decides whether it gets a random B. These pairs are sorted by the lengths of B and A, and
neighbours from different documents exchange their B. Random pairs thus have the lengths, the cuts, and the shares of
documents that true pairs have: each A and each B is in one row, and only their combination is random. No sentence is
lost, and the text is read once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.segments import FOLLOWS, RANDOM

_NEAR = 16  # candidates of about the same length when a row borrows a B


def exchange_segments(
    plan: NDArray[np.void],
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    same: NDArray[np.int64],
) -> int:
    """Give each row of `plan` that is labelled RANDOM a B from another document; `same` is equal for equal documents.

    The lengths of rows do not change. Most exchanged segments have equal lengths. Otherwise the longer one is cut at
    its back, and the shorter one is extended within its document. If one document has most of the rows, some of its
    rows find no partner and borrow a B that is also in another row.

    Returns the number of documents if there is no other document for any of them, and then labels all rows FOLLOWS;
    else 0.
    """
    random = np.flatnonzero(plan["label"] == RANDOM)
    keys = (plan["bits"][random], plan["a"]["tokens"][random], plan["b"]["tokens"][random])
    random = random[np.lexsort(keys)]
    own = plan["b"].copy()
    classes = same[own["document"]]
    partners = _match(classes[random])
    matched = partners >= 0
    plan["b"][random[matched]] = own[random[partners[matched]]]
    unmatched = random[~matched]
    if len(unmatched):  # all of one class
        sources = np.flatnonzero(classes != classes[unmatched[0]])
        if not len(sources):
            plan["label"] = FOLLOWS
            return len(np.unique(own["document"]))
        plan["b"][unmatched] = _borrowed(own, sources, unmatched, plan["bits"])
    _fit(plan["b"], own["tokens"], token_offsets, document_offsets)
    return 0


def _fit(
    segments: NDArray[np.void],
    tokens: NDArray[np.int64],
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
) -> None:
    """Give each segment its number of `tokens`, or as many as its document has."""
    changed = np.flatnonzero(segments["tokens"] != tokens)
    document = segments["document"][changed]
    begin, end = token_offsets[document_offsets[document]], token_offsets[document_offsets[document + 1]]
    length = np.minimum(tokens[changed], end - begin)
    start = np.minimum(segments["start"][changed], end - length)
    segments["start"][changed], segments["tokens"][changed] = start, length
    segments["first"][changed] = np.searchsorted(token_offsets, start, side="right") - 1
    segments["end"][changed] = np.searchsorted(token_offsets, start + length)


def _borrowed(
    own: NDArray[np.void], sources: NDArray[np.int64], rows: NDArray[np.int64], bits: NDArray[np.uint64]
) -> NDArray[np.void]:
    """Return for each of the rows a B from `sources` of the same or a slightly greater length, or the longest one."""
    sources = sources[np.lexsort((bits[sources], own["tokens"][sources]))]
    places = np.searchsorted(own["tokens"][sources], own["tokens"][rows])
    places += (bits[rows] % np.uint64(_NEAR)).astype(np.int64)
    return own[sources[np.minimum(places, len(sources) - 1)]]


@compiled
def _match(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each element the index of its partner, a nearby element of another class; -1 if it has none.

    Elements that wait for a partner are always of one class, so that only elements of a majority class remain without
    one (Boyer and Moore 1981).
    """
    partners = np.full(len(classes), -1, np.int64)
    waiting = np.empty(len(classes), np.int64)
    count = 0
    for place in range(len(classes)):
        if count and classes[waiting[count - 1]] != classes[place]:
            count -= 1
            partners[place] = waiting[count]
            partners[waiting[count]] = place
        else:
            waiting[count] = place
            count += 1
    return partners
