"""Rows before their tokens are copied: segments as ranges of tokens, and how they are cut to a row's length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.randomness import RandomState, draw_below, draw_fraction

FOLLOWS, RANDOM, SWAPPED = 0, 1, 1  # next_sentence_label

_SEGMENT = np.dtype(
    [
        ("start", np.int64),  # its tokens: ids[start : start + tokens]
        ("tokens", np.int64),  # 0: there is no such segment
        ("document", np.int64),
        ("first", np.int64),  # the whole sentences it was cut from: first up to end
        ("end", np.int64),
    ]
)
# A planned row: two segments; label; whether that could be no other; whether its document aims at a shorter length; a
# key of seed, document, copy and the row's number in it; 64 random bits that differ from pass to pass.
PLAN = np.dtype(
    [
        ("a", _SEGMENT),
        ("b", _SEGMENT),
        ("label", np.uint8),
        ("forced", np.bool_),
        ("short", np.bool_),
        ("key", np.uint64),
        ("bits", np.uint64),
    ]
)


@compiled
def draw_target(state: RandomState, most_tokens: int, short_seq_prob: float) -> tuple[int, bool]:
    """How many tokens a document's rows aim at, and whether that is fewer than a row holds."""
    short = draw_fraction(state) < short_seq_prob
    return (2 + draw_below(state, most_tokens - 1) if short else most_tokens), short


@compiled
def reach(token_offsets: NDArray[np.int64], first: int, last: int, tokens: int) -> int:
    """The end of the fewest whole sentences from `first` on, one at least, that hold so many tokens; at most `last`."""
    end = first + 1
    while end < last and token_offsets[end] - token_offsets[first] < tokens:
        end += 1
    return end


@compiled
def reach_back(token_offsets: NDArray[np.int64], first: int, last: int, tokens: int) -> int:
    """The same before `last`: the beginning of the fewest whole sentences; at least `first`."""
    begin = last - 1
    while begin > first and token_offsets[last] - token_offsets[begin] < tokens:
        begin -= 1
    return begin


@compiled
def set_segment(segment: np.void, token_offsets: NDArray[np.int64], document: int, first: int, end: int) -> None:
    """Make it of whole sentences of a document, with all of their tokens."""
    segment["document"], segment["first"], segment["end"] = document, first, end
    segment["start"], segment["tokens"] = token_offsets[first], token_offsets[end] - token_offsets[first]


@compiled
def cut_to_length(state: RandomState, most_tokens: int, fair: bool, pair: np.void) -> None:
    """Of the longer segment, drop tokens at its front or back, a coin for each, until both fit.

    Of equal ones B counts as the longer, as published, or with `fair` the one that another coin names.
    """
    a, b = pair["a"], pair["b"]
    while a["tokens"] + b["tokens"] > most_tokens:
        is_a = a["tokens"] > b["tokens"] or (fair and a["tokens"] == b["tokens"] and draw_below(state, 2) == 1)
        segment = a if is_a else b
        segment["start"] += draw_below(state, 2)
        segment["tokens"] -= 1
