"""`bertrain fill`: print predictions for masks."""

from __future__ import annotations

import os
from pathlib import Path

from launch.terminal import console, plain_table
from pretrain.huggingface import load_pretrained
from pretrain.transfer import Filler


def run_fill(place: Path, text: str, top: int) -> None:
    """Print a table of word pieces and probabilities for each mask."""
    text = os.fsencode(text).decode(errors="replace")  # a locale other than UTF-8 leaves bytes that are no text
    fillings = Filler(load_pretrained(place)).fill(text, top)
    for number, filling in enumerate(fillings, 1):
        title = f"[MASK] {number} of {len(fillings)}" if len(fillings) > 1 else None
        table = plain_table("", "", justify="right", show_header=False, title=title and title.replace("[", "\\["))
        for piece, probability in zip(filling.pieces, filling.probabilities, strict=True):
            table.add_row(piece.replace("[", "\\["), f"{probability:.3f}")
        console().print(table)
