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
        ("first", np.int64),  # the whole sentences (while rows are planned: units) that it was cut from: first to end
        ("end", np.int64),
    ]
)
# A planned row: two segments; its label; whether no coin decided the label; whether its target length is below that of
# a row; a key made from seed, document, copy, and the row's number in the document; 64 random bits for each pass.
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
    """Draw the target length of rows in tokens, and return whether it is below the length of a row."""
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
def cut_pair(state: RandomState, most_tokens: int, pair: np.void) -> None:
    """Cut the longer segment, then both alike, until the pair fits. A coin decides which one loses an odd token."""
    a, b = pair["a"], pair["b"]
    over = a["tokens"] + b["tokens"] - most_tokens
    if over <= 0:
        return
    from_longer = min(over, abs(a["tokens"] - b["tokens"]))
    from_each = (over - from_longer) // 2
    odd = (over - from_longer) % 2
    is_a_odd = odd * draw_below(state, 2)
    is_a_longer = a["tokens"] > b["tokens"]
    a_tokens = a["tokens"] - from_each - is_a_odd - (from_longer if is_a_longer else 0)
    cut_segment(state, a_tokens, a)
    cut_segment(state, most_tokens - a_tokens, b)


@compiled
def cut_segment(state: RandomState, tokens: int, segment: np.void) -> None:
    """Cut the segment to `tokens` tokens, all at its front or all at its back: a coin for the whole cut.

    A coin for each token would cut about as much from both ends, so that the middle of a long segment would stand in
    the rows of every pass, and its ends in those of none.
    """
    if tokens < segment["tokens"]:
        segment["start"] += draw_below(state, 2) * (segment["tokens"] - tokens)
        segment["tokens"] = tokens


@compiled
def drop_tokens(state: RandomState, most_tokens: int, pair: np.void) -> None:
    """Drop tokens from the front or back of the longer segment, a coin for each token, until the pair fits.

    If both are equally long, B loses the token: the rule of Google's script.
    """
    a, b = pair["a"], pair["b"]
    while a["tokens"] + b["tokens"] > most_tokens:
        segment = a if a["tokens"] > b["tokens"] else b
        segment["start"] += draw_below(state, 2)
        segment["tokens"] -= 1
