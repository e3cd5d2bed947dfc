"""Planned rows: segments as ranges of tokens, and how they are cut to the length of a row."""

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
        ("first", np.int64),  # the whole sentences that it was cut from: first up to end
        ("end", np.int64),
    ]
)
# A planned row: two segments; its label; whether no coin decided the label; whether its document has a shorter target
# length; a key made from seed, document, copy, and the row's number in the document; 64 random bits for each pass.
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
    """Draw the target length of a document's rows in tokens, and return whether it is below the length of a row."""
    short = draw_fraction(state) < short_seq_prob
    return (2 + draw_below(state, most_tokens - 1) if short else most_tokens), short


@compiled
def reach(token_offsets: NDArray[np.int64], first: int, last: int, tokens: int) -> int:
    """Return the end of the fewest sentences from `first` on that hold `tokens` tokens; at most `last`."""
    end = first + 1
    while end < last and token_offsets[end] - token_offsets[first] < tokens:
        end += 1
    return end


@compiled
def reach_back(token_offsets: NDArray[np.int64], first: int, last: int, tokens: int) -> int:
    """Return the beginning of the fewest sentences before `last` that hold `tokens` tokens; at least `first`."""
    begin = last - 1
    while begin > first and token_offsets[last] - token_offsets[begin] < tokens:
        begin -= 1
    return begin


@compiled
def set_segment(segment: np.void, token_offsets: NDArray[np.int64], document: int, first: int, end: int) -> None:
    """Set the segment to all tokens of the document's sentences `first` up to `end`."""
    segment["document"], segment["first"], segment["end"] = document, first, end
    segment["start"], segment["tokens"] = token_offsets[first], token_offsets[end] - token_offsets[first]


@compiled
def cut_to_length(state: RandomState, most_tokens: int, fair: bool, pair: np.void) -> None:
    """Drop tokens from the front or back of the longer segment, a coin for each token, until the pair fits.

    If both are equally long, B loses the token, as published; with `fair`, a coin chooses the segment.
    """
    a, b = pair["a"], pair["b"]
    while a["tokens"] + b["tokens"] > most_tokens:
        is_a = a["tokens"] > b["tokens"] or (fair and a["tokens"] == b["tokens"] and draw_below(state, 2) == 1)
        segment = a if is_a else b
        segment["start"] += draw_below(state, 2)
        segment["tokens"] -= 1
