"""What the masked-LM head puts in the place of [MASK], with probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from configs.errors import UserError
from preprocessing.vocabulary import MASK
from pretrain.pretrained import Pretrained
from pretrain.transfer.rows import Row, batch_of


@dataclass(frozen=True)
class Filling:
    """The most likely word pieces at one [MASK], with their probabilities, falling."""

    pieces: list[str]
    probabilities: list[float]


def fill(source: Pretrained, text: str, top: int) -> list[Filling]:
    """The `top` most likely word pieces at each [MASK] of the text, in order.

    Raises `UserError` when the text has no [MASK], is too long, or the model has no masked-LM head.
    """
    if "masked_lm" in source.missing_parts:
        mend = "give a run, or a folder exported with its pretraining heads"
        raise UserError("the model has no masked-LM head", place=str(source.place), mend=mend)
    encoding = source.vocabulary.tokenizer().encode(text)
    places = [place for place, piece in enumerate(encoding.ids) if piece == source.vocabulary.ids[MASK]]
    if not places:
        raise UserError(
            f"the text has no {MASK}", place=repr(text), mend=f"write {MASK} where a word is to be filled in"
        )
    if len(encoding.ids) > source.config.max_position_embeddings:
        cause = f"the text has {len(encoding.ids)} tokens, the model takes {source.config.max_position_embeddings}"
        raise UserError(cause, mend="shorten the text")
    return fill_row(source, Row.of(encoding), places, top)


@torch.no_grad()
def fill_row(source: Pretrained, row: Row, places: Sequence[int], top: int) -> list[Filling]:
    """The `top` most likely word pieces at these places of a row."""
    logits_MV, _ = source.model(source.objective).eval().logits(batch_of([row], places))
    best = logits_MV.float().softmax(-1).topk(min(top, len(source.vocabulary)))
    return [
        Filling([source.vocabulary.pieces[piece] for piece in pieces], probabilities)
        for pieces, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
