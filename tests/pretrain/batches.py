"""Random batches, and their rows as single batches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from pretrain.data.gather import Gathered
from pretrain.model.batch import Batch
from tests.pretrain.synthetic import random_rows


def random_batch(
    seed: int, rows: int, *, vocabulary_size: int = 50, max_seq_length: int = 24, predicts_next: bool = False
) -> Batch:
    """A ragged batch of rows of very different lengths; with `predicts_next`, as it is read from left to right."""
    made = random_rows(
        np.random.default_rng(seed),
        rows,
        vocabulary_size=vocabulary_size,
        max_seq_length=max_seq_length,
        full_share=0.2,
    )
    lengths, masked = np.diff(made.input_offsets), np.diff(made.masked_offsets)
    position_ids = np.arange(len(made.input_ids)) - np.repeat(made.input_offsets[:-1], lengths)
    gathered = Gathered(
        input_ids=made.input_ids.astype(np.int64),
        token_type_ids=(position_ids >= np.repeat(made.segment_a_length, lengths)).astype(np.int64),
        position_ids=position_ids,
        offsets=made.input_offsets.astype(np.int64),
        masked_positions=made.masked_lm_positions.astype(np.int64) + np.repeat(made.input_offsets[:-1], masked),
        masked_ids=made.masked_lm_ids.astype(np.int64),
        masked_offsets=made.masked_offsets.astype(np.int64),
        next_sentence_label=made.next_sentence_label.astype(np.int64),
    )
    if predicts_next:
        special = np.where(made.segment_a_length < lengths, 3, 2)
        gathered = gathered.predicting_next(lengths.astype(np.int64) - special)
    return gathered.batch(0, rows)


def single_rows(batch: Batch) -> list[Batch]:
    """Each row as its own batch."""
    offsets = batch.offsets.tolist()
    rows = []
    for row, (begin, end) in enumerate(pairwise(offsets)):
        inside = (batch.masked_positions >= begin) & (batch.masked_positions < end)
        rows.append(
            Batch(
                input_ids=batch.input_ids[begin:end],
                token_type_ids=batch.token_type_ids[begin:end],
                position_ids=batch.position_ids[begin:end],
                offsets=torch.tensor([0, end - begin], dtype=torch.int32),
                max_length=end - begin,
                masked_positions=batch.masked_positions[inside] - begin,
                masked_ids=batch.masked_ids[inside],
                next_sentence_label=batch.next_sentence_label[row : row + 1],
            )
        )
    return rows
