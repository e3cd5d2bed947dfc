"""Documents cut into rows that use each of their sentences once: balanced pairs, sentence order, and single segments.

A pair is a chunk of at least two units: sentences, or pieces of long ones (`units`). Units are gathered until the chunk
reaches a target length, which is drawn for each row; the chunk is divided into A and B between two units. If the row is
then too long, each segment is cut at one end. No chunk depends on its label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.randomness import absorb, draw_below, draw_bits
from preprocessing.rows.segments import FOLLOWS, SWAPPED, cut_pair, draw_target, reach, reach_back, set_segment


@compiled
def plan_chunks(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    most_tokens: int,
    short_seq_prob: float,
    plan: NDArray[np.void],
) -> tuple[int, int]:
    """Fill `plan` with pairs in which B follows A; a coin draws the label of each. The offsets are those of units.

    Rows can be too long: `cut_rows` or `exchange_segments` cuts them.

    Returns the number of rows, and the number of documents with a single unit, which make no pair. In every other
    document no unit remains alone: the chunk before it gives one up, or takes it in.
    """
    state = np.empty(1, np.uint64)
    rows = lone = 0
    for document in range(len(document_offsets) - 1):
        state[0] = absorb(keys[document], pass_number)
        first_row = rows
        backward = draw_below(state, 2) == 1
        first, last = document_offsets[document], document_offsets[document + 1]
        lone += last - first == 1
        while last - first > 1:
            target, short = draw_target(state, most_tokens, short_seq_prob)
            if backward:
                begin, end = min(last - 2, reach_back(token_offsets, first, last, target)), last
                if begin == first + 1:
                    begin += 1 if end - begin > 2 else -1
                last = begin
            else:
                begin, end = first, max(first + 2, reach(token_offsets, first, last, target))
                if end == last - 1:
                    end -= 1 if end - begin > 2 else -1
                first = end
            a_end = begin + 1 + draw_below(state, end - begin - 1)
            pair = plan[rows]
            set_segment(pair["a"], token_offsets, document, begin, a_end)
            set_segment(pair["b"], token_offsets, document, a_end, end)
            pair["label"], pair["short"] = draw_below(state, 2), short
            pair["key"] = absorb(keys[document], np.uint64(rows - first_row))
            pair["bits"] = draw_bits(state)
            rows += 1
    return rows, lone


@compiled
def cut_rows(plan: NDArray[np.void], most_tokens: int) -> None:
    """Cut the rows that are too long."""
    state = np.empty(1, np.uint64)
    for row in range(len(plan)):
        state[0] = plan[row]["bits"]
        cut_pair(state, most_tokens, plan[row])


def swap_segments(plan: NDArray[np.void]) -> None:
    """Exchange A and B in the rows labelled SWAPPED: sentence order prediction (ALBERT, Lan et al. 2020)."""
    swapped = plan["label"] == SWAPPED
    plan["a"][swapped], plan["b"][swapped] = plan["b"][swapped], plan["a"][swapped]


@compiled
def plan_full_sentences(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    most_tokens: int,
    short_seq_prob: float,
    plan: NDArray[np.void],
) -> int:
    """Fill `plan` with rows of one segment, up to its length; return the number of rows that the documents make.

    A row holds as many whole sentences of a document as fit (RoBERTa's DOC-SENTENCES, Liu et al. 2019). A sentence that
    is longer than a row continues in the next row.
    """
    state = np.empty(1, np.uint64)
    rows = 0
    for document in range(len(document_offsets) - 1):
        state[0] = absorb(keys[document], pass_number)
        first_row = rows
        sentence, end = document_offsets[document], document_offsets[document + 1]
        start = token_offsets[sentence]
        while sentence < end:
            target, short = draw_target(state, most_tokens, short_seq_prob)
            row_end = sentence
            room = most_tokens  # for the first sentence, even where the row is to be short
            while row_end < end and token_offsets[row_end + 1] - start <= room:
                row_end += 1
                room = target
            continues = row_end == sentence  # the sentence does, in the next row
            stop = start + most_tokens if continues else token_offsets[row_end]
            if rows < len(plan):
                row = plan[rows]
                set_segment(row["a"], token_offsets, document, sentence, sentence + 1 if continues else row_end)
                row["a"]["start"], row["a"]["tokens"] = start, stop - start
                set_segment(row["b"], token_offsets, document, sentence, sentence)
                row["label"], row["short"] = FOLLOWS, short
                row["key"] = absorb(keys[document], np.uint64(rows - first_row))
            rows += 1
            sentence, start = row_end, stop
    return rows
