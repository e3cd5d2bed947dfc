"""What a model predicts at masked positions, as a Markdown table for TensorBoard's tab Text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from pretrain.model import Batch, BertForPreTraining

ROWS = 4
MOST_POSITIONS = 16
CONTEXT = 6  # word pieces on each side
GUESSES = 3


@torch.no_grad()
def predictions_table(model: BertForPreTraining, batch: Batch, pieces: Sequence[str]) -> str:
    """Return the best guesses at the first masked positions of a batch, beside the text and the original piece.

    The model must be whole on this rank, and in evaluation mode. From left to right, a piece is predicted at the
    position before it.
    """
    few = _first_rows(batch, ROWS)
    scores_MV = model.logits(few)[0].float().softmax(-1)
    best, ids = (found[:MOST_POSITIONS].tolist() for found in scores_MV.topk(min(GUESSES, len(pieces))))
    rows = [
        [pieces[number] for number in row.tolist()]
        for row in few.input_ids.tensor_split(few.offsets[1:-1].cpu().long())
    ]
    text = [(row, place) for row in rows for place in range(len(row))]  # of each position of the batch
    lines = ["| text | original | predicted |", "|:--|:--|:--|"]
    positions = few.masked_positions + model.bert.config.is_left_to_right
    for position, original, shares, guesses in zip(
        positions.tolist(), few.masked_ids.tolist(), best, ids, strict=False
    ):
        predicted = ", ".join(f"{pieces[guess]} {share:.0%}" for guess, share in zip(guesses, shares, strict=True))
        lines.append("| " + " | ".join(map(_cell, (_around(*text[position]), pieces[original], predicted))) + " |")
    return "\n".join(lines)


def _first_rows(batch: Batch, rows: int) -> Batch:
    offsets = batch.offsets[: rows + 1]
    end = int(offsets[-1])
    is_inside = batch.masked_positions < end
    return replace(
        batch,
        input_ids=batch.input_ids[:end],
        token_type_ids=batch.token_type_ids[:end],
        position_ids=batch.position_ids[:end],
        offsets=offsets,
        masked_positions=batch.masked_positions[is_inside],
        masked_ids=batch.masked_ids[is_inside],
        next_sentence_label=batch.next_sentence_label[:rows],
    )


def _around(tokens: Sequence[str], position: int) -> str:
    """Return a row's text around a position, set in arrows. Its piece can be [MASK], a random one or its own."""
    before = tokens[max(0, position - CONTEXT) : position]
    return " ".join([*before, f"→{tokens[position]}←", *tokens[position + 1 : position + 1 + CONTEXT]])


def _cell(text: str) -> str:
    """Return text as it is, also where Markdown or HTML would read it as something else."""
    return "".join(f"&#{ord(letter)};" if letter in "|<>&*_`[]#\\~" else letter for letter in text)
