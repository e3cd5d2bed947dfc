"""Pairs as Google's script makes them (Devlin et al. 2019, appendix A.2), `nsp_mode = "reference"`.

Whole sentences of a document are gathered into a chunk until it holds the target length. The chunk is cut in two
between sentences: A, and what follows it. Half the time, and always for a chunk of one sentence, B is taken from
another document instead, and the chunk's unused sentences go back.

Two differences from the script: the other document always has another digest, so that the label is always right, and it
is drawn from the same group, so that memory is bounded.

The length of such a pair reveals much about its label, since a random B often ends early, at the end of its document.
The pairs of `chunks` and `negatives` do not have this flaw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.randomness import absorb, draw_below, draw_fraction
from preprocessing.rows.segments import FOLLOWS, RANDOM, draw_target, drop_tokens, reach, set_segment


@compiled
def plan_reference_pairs(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    order: NDArray[np.int64],
    first_equal: NDArray[np.int64],
    last_equal: NDArray[np.int64],
    pass_number: np.uint64,
    most_tokens: int,
    short_seq_prob: float,
    plan: NDArray[np.void],
) -> tuple[int, int, int]:
    """Fill `plan`; return its rows, the documents without any other document, and the chunks dropped for that reason.

    `order` holds the documents sorted by digest; those with the digest of document n are at first_equal[n] up to
    last_equal[n].
    """
    state = np.empty(1, np.uint64)
    rows = without_other = dropped = 0
    for document in range(len(document_offsets) - 1):
        state[0] = absorb(keys[document], pass_number)
        target, short = draw_target(state, most_tokens, short_seq_prob)
        others = len(order) - (last_equal[document] - first_equal[document])
        without_other += others == 0
        first_row = rows
        sentence, end = document_offsets[document], document_offsets[document + 1]
        while sentence < end:
            chunk_end = reach(token_offsets, sentence, end, target)
            alone = chunk_end == sentence + 1
            if alone and others == 0:
                dropped += 1
                sentence = chunk_end
                continue
            a_end = sentence + 1 + (0 if alone else draw_below(state, chunk_end - sentence - 1))
            random = others > 0 and (alone or draw_fraction(state) < 0.5)
            pair = plan[rows]
            set_segment(pair["a"], token_offsets, document, sentence, a_end)
            set_segment(pair["b"], token_offsets, document, a_end, chunk_end)
            if random:
                rank = draw_below(state, others)
                other = order[rank if rank < first_equal[document] else rank + len(order) - others]
                first, last = document_offsets[other], document_offsets[other + 1]
                first += draw_below(state, last - first)
                b_end = reach(token_offsets, first, last, target - pair["a"]["tokens"])
                set_segment(pair["b"], token_offsets, other, first, b_end)
            pair["label"], pair["forced"], pair["short"] = RANDOM if random else FOLLOWS, alone, short
            pair["key"] = absorb(keys[document], np.uint64(rows - first_row))
            drop_tokens(state, most_tokens, pair)
            rows += 1
            sentence = a_end if random else chunk_end
    return rows, without_other, dropped
