"""Random next segments: rows of different documents and of equal lengths exchange their B.

Rows of similar lengths form couples of two documents, within each corpus first, then within each language, and couples
form blocks. All rows of a block are cut to the same lengths by the same rule; only then does a coin for each row decide
whether it keeps its B. The rows that do not, exchange theirs. So nothing that B shows by itself depends on the label,
nor does a length: each A and each B has the same chance of both labels, in any group of documents. A block's coins are
thrown again if the rows on one of the sides cannot exchange their B between different documents. The rule is the same
for both sides, so that both labels remain equally likely for each row.

A document with most of the rows of a group leaves rows without a partner. Each of them forms a couple with a row of
another document once more, of the same corpus as long as there are any, then of the same language. That row is then in
the group twice, but no row is repeated more than once. The remaining ones keep their B and are labelled FOLLOWS,
without a coin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.randomness import RandomState, absorb, draw_below
from preprocessing.rows.segments import FOLLOWS, RANDOM, cut_segment

_COUPLES = 4  # of a block: more would be cut more, and in fewer each label would tell more about the others
_BLOCKS = 16  # at least, of smaller blocks if need be: in few rows, similar lengths are rare
_THROWS = 64  # of a block's coins, before they are thrown for its couples
_COINS = np.uint64(0x636F696E73)  # separates a block's coins from the places of its cuts
_REPEATED = np.uint64(0x726570656174)  # separates the key of a repeated row from that of the row itself

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Exchanged:
    """The rows after the exchange, and what was unusual."""

    plan: NDArray[np.void]
    repeated: int  # rows at the end of `plan` that repeat another one's A and B
    without_other: int  # documents, if there is no other document for any of them


def exchange_segments(
    plan: NDArray[np.void], documents: Indices, kinships: Sequence[Indices], most_tokens: int
) -> Exchanged:
    """Draw the labels of the rows of `plan`, cut the rows to `most_tokens`, and exchange the B of half of them.

    `documents` is equal for equal documents. Each of `kinships` is equal for documents that are preferred as partners,
    the closest kinship first: those of one corpus, those of one language. All are indexed by document.
    """
    plan["label"] = FOLLOWS
    classes, kin = documents[plan["a"]["document"]], [each[plan["a"]["document"]] for each in kinships]
    kin.append(np.zeros(len(plan), np.int64))  # at last, all documents
    order = _by_lengths(*_fitting(plan["a"]["tokens"], plan["b"]["tokens"], most_tokens), plan["bits"])
    couples, left = _couples(order, classes, kin)
    again = list(_once_more(left, order[classes[order] != classes[left[0]]] if len(left) else left, kin))
    partnered, others = (np.concatenate(rows) for rows in zip(*again, strict=True))
    start = len(plan)
    for level, (rows, asked) in enumerate(again):
        own = np.stack([rows, start + np.arange(len(rows))], axis=1)
        start += len(asked)
        if len(rows):  # the closest kin form blocks of their own
            place = (level, int(kin[level][rows[0]])) if level else (-1, 0)
            couples[place] = np.concatenate([couples.get(place, own[:0]), own])
    plan["forced"][left] = True
    plan["forced"][partnered] = False
    plan = np.concatenate([plan, _repeated(plan[others])])
    _exchange(plan, np.concatenate([classes, classes[others]]), list(couples.values()), most_tokens)
    alone = bool(plan["forced"].all())
    return Exchanged(plan, len(others), len(np.unique(plan["a"]["document"])) if alone else 0)


def _couples(
    rows: Indices, classes: Indices, kin: Sequence[Indices]
) -> tuple[dict[tuple[int, int], NDArray[np.int64]], Indices]:
    """Return the couples by kinship and its value, and the rows that are left, which are of one class."""
    couples = {}
    for level, values in enumerate(kin):
        for value in np.unique(values).tolist():
            chosen = rows[values[rows] == value]
            couples[level, value] = chosen[_match(classes[chosen])]
            rows = rows[~np.isin(rows, couples[level, value])]
    return couples, rows


def _once_more(left: Indices, others: Indices, kin: Sequence[Indices]) -> Iterator[tuple[Indices, Indices]]:
    """Yield for each kinship rows that are left, and as many rows of other documents, which are asked once more."""
    first = left[:1]
    for values in kin:
        is_kin = values[others] == values[first]
        rows, asked = _spread_partners(left, others[is_kin])
        yield rows, asked
        left, others = left[~np.isin(left, rows)], others[~is_kin]


def _exchange(plan: NDArray[np.void], classes: Indices, couples: list[NDArray[np.int64]], most_tokens: int) -> None:
    """Form blocks of couples of similar lengths, cut them, draw their labels, and exchange."""
    a, b = plan["a"]["tokens"].copy(), plan["b"]["tokens"].copy()
    blocks = [_blocks(of_one, a, b, plan["bits"], most_tokens) for of_one in couples]
    _cut(plan, *_fitting(a, b, most_tokens))
    for rows in blocks:
        sources = _sources(classes, rows, plan["bits"], 2 * _couples_of_block(len(rows) // 2))
        moved = np.flatnonzero(sources >= 0)
        plan["b"][moved] = plan["b"][sources[moved]]
        plan["label"][moved] = RANDOM


def _blocks(couples: NDArray[np.int64], a: Indices, b: Indices, bits: NDArray[np.uint64], most_tokens: int) -> Indices:
    """Return the rows of couples, block after block. Lowers their lengths in `a` and `b` to those of their block."""
    if not len(couples):
        return couples.reshape(-1)
    of_couple = (a[couples].min(axis=1), b[couples].min(axis=1))
    rows = couples[_by_lengths(*_fitting(*of_couple, most_tokens), bits[couples[:, 0]])].reshape(-1)
    starts = np.arange(0, len(rows), 2 * _couples_of_block(len(couples)))
    sizes = np.diff(np.append(starts, len(rows)))
    for tokens in (a, b):
        tokens[rows] = np.repeat(np.minimum.reduceat(tokens[rows], starts), sizes)
    return rows


def _couples_of_block(couples: int) -> int:
    return max(1, min(_COUPLES, couples // _BLOCKS))


def _fitting(a: Indices, b: Indices, most_tokens: int) -> tuple[Indices, Indices]:
    """Return lengths that fit a row. Both segments are cut in proportion, which leaves both of them some choice.

    The lengths of a block's shortest A and shortest B are often together still a full row.
    """
    total = np.maximum(a + b, most_tokens)
    is_long = total > most_tokens
    fitting = np.where(
        is_long, np.clip(a * most_tokens // total, np.maximum(1, most_tokens - b), np.minimum(a, most_tokens - 1)), a
    )
    return fitting, np.where(is_long, most_tokens - fitting, b)


def _by_lengths(a: Indices, b: Indices, bits: NDArray[np.uint64]) -> Indices:
    """Return an order in which neighbours have a similar total length and a similar A; ties are in random order.

    It is the Z-order of the two numbers: their bits alternate (Morton 1966).
    """
    return np.lexsort((bits, _spread(a + b) << 1 | _spread(a)))


def _spread(numbers: Indices) -> Indices:
    """Return the numbers, below 2¹⁶, with a 0 before each of their bits."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        numbers = (numbers | numbers << shift) & mask
    return numbers


def _evenly(rows: Indices, most: int) -> Indices:
    """Return at most `most` of the rows, at even distances, so that two choices of equal size have similar lengths."""
    count = min(most, len(rows))
    return rows[np.arange(count) * len(rows) // max(1, count)]


def _spread_partners(rows: Indices, others: Indices) -> tuple[Indices, Indices]:
    """Return as many of the rows as of the others."""
    return _evenly(rows, len(others)), _evenly(others, len(rows))


@compiled
def _match(classes: Indices) -> NDArray[np.int64]:
    """Return couples of nearby elements of different classes, [couples, 2]; no element is in two of them.

    Elements that wait for a partner are always of one class, so that only elements of a majority class remain without
    one (Boyer and Moore 1981).
    """
    couples = np.empty((len(classes) // 2, 2), np.int64)
    waiting = np.empty(len(classes), np.int64)
    found = count = 0
    for place in range(len(classes)):
        if count and classes[waiting[count - 1]] != classes[place]:
            count -= 1
            couples[found, 0], couples[found, 1] = waiting[count], place
            found += 1
        else:
            waiting[count] = place
            count += 1
    return couples[:found].copy()


@compiled
def _cut(plan: NDArray[np.void], a_tokens: Indices, b_tokens: Indices) -> None:
    """Cut each row to its lengths of A and of B."""
    state = np.empty(1, np.uint64)
    for row in range(len(plan)):
        state[0] = plan[row]["bits"]
        cut_segment(state, a_tokens[row], plan[row]["a"])
        cut_segment(state, b_tokens[row], plan[row]["b"])


@compiled
def _sources(classes: Indices, rows: Indices, bits: NDArray[np.uint64], size: int) -> Indices:
    """Return for each row the row whose B it takes, or -1. `rows` are in blocks of `size` rows."""
    sources = np.full(len(classes), -1, np.int64)
    state = np.empty(1, np.uint64)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        state[0] = absorb(bits[block[0]], _COINS)
        moved = _throw(state, classes[block])
        random = block[moved]
        random = random[np.argsort(classes[random], kind="mergesort")]
        step = _most_frequent(classes[random])
        for nth in range(len(random)):  # rows of one class stand together, so the step leads to another class
            sources[random[nth]] = random[(nth + step) % len(random)]
    return sources


@compiled
def _throw(state: RandomState, classes: Indices) -> NDArray[np.bool_]:
    """Throw the coins of a block until its rows can exchange: those on either side."""
    moved = np.zeros(len(classes), np.bool_)
    for throw in range(_THROWS + 1):
        for row in range(len(classes)):
            is_of_couple = throw == _THROWS and row % 2 == 1
            moved[row] = moved[row - 1] if is_of_couple else draw_below(state, 2) == 1
        sides = classes[moved], classes[~moved]
        if 2 * _most_frequent(sides[0]) <= len(sides[0]) and 2 * _most_frequent(sides[1]) <= len(sides[1]):
            break
    return moved


@compiled
def _most_frequent(classes: Indices) -> int:
    """Return how often the most frequent class occurs."""
    most = 0
    for one in classes:
        most = max(most, np.sum(classes == one))
    return most


@compiled
def _repeated(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Give the rows keys and random bits of their own, so that a repeated row has other cuts and masks."""
    for row in range(len(rows)):
        rows[row]["key"] = absorb(rows[row]["key"], _REPEATED)
        rows[row]["bits"] = absorb(rows[row]["bits"], _REPEATED)
    return rows
