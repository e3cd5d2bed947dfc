"""Random next segments that nothing but their content tells from true ones: B exchanged among pairs of equal lengths.

Half of all pairs, by a coin each, are to have a random B. They are sorted by the lengths of B and A, and neighbours
of different documents exchange their B. So what a random pair is made of (lengths, cuts, how often a document stands
there, at which place) is what true pairs are made of: each A and each B stands in one row, and only their meeting is
by chance. No sentence is lost to it, and sampling needs no second look at the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.segments import FOLLOWS, RANDOM

_NEAR = 16  # pairs of about the same length to choose from when one borrows


def exchange_segments(
    plan: NDArray[np.void],
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    same: NDArray[np.int64],
) -> int:
    """Give the rows of `plan` that are labelled RANDOM a B of another document; `same` is equal for equal documents.

    A row's lengths stay what they were. Exchanged segments are of the same length in most cases; of the others the
    longer is cut at its back, the shorter goes on in its document. Where one document has most of the rows, the last of
    them find none to exchange with: they borrow a B that another row has too.

    Returns for how many documents there is no other one at all: then all labels are FOLLOWS.
    """
    random = np.flatnonzero(plan["label"] == RANDOM)
    keys = (plan["bits"][random], plan["a"]["tokens"][random], plan["b"]["tokens"][random])
    random = random[np.lexsort(keys)]
    own = plan["b"].copy()
    classes = same[own["document"]]
    partners = _match(classes[random])
    matched = partners >= 0
    plan["b"][random[matched]] = own[random[partners[matched]]]
    lonely = random[~matched]
    if len(lonely):  # all of one class
        sources = np.flatnonzero(classes != classes[lonely[0]])
        if not len(sources):
            plan["label"] = FOLLOWS
            return len(np.unique(own["document"]))
        plan["b"][lonely] = _borrowed(own, sources, lonely, plan["bits"])
    _fit(plan["b"], own["tokens"], token_offsets, document_offsets)
    return 0


def _fit(
    segments: NDArray[np.void],
    tokens: NDArray[np.int64],
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
) -> None:
    """Make the segments so many tokens long, as far as their documents are."""
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
    """For each of the rows a B of the `sources` that is as long or little longer; the longest when none is."""
    sources = sources[np.lexsort((bits[sources], own["tokens"][sources]))]
    places = np.searchsorted(own["tokens"][sources], own["tokens"][rows])
    places += (bits[rows] % np.uint64(_NEAR)).astype(np.int64)
    return own[sources[np.minimum(places, len(sources) - 1)]]


@compiled
def _match(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each place one near it of another class, which has it in turn; -1 where none is left.

    Who waits for a partner is always of one class, so in the end only that of a majority is left (the pairing is
    Boyer and Moore's, 1981).
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
