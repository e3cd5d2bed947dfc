"""Mask filling: the masked-LM head's predictions at [MASK], with probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from configs.errors import UserError
from preprocessing.vocabulary import MASK
from pretrain.huggingface import Pretrained
from pretrain.transfer.tasks import TokenRow, batch_of


@dataclass(frozen=True)
class Filling:
    """The most likely word pieces at one [MASK], with their probabilities in descending order."""

    pieces: list[str]
    probabilities: list[float]


class Filler:
    """A model that fills masks. Raises `UserError` when it has no masked-LM head."""

    def __init__(self, source: Pretrained) -> None:
        if "masked_lm" in source.missing_parts:
            fix = "give a run, or a folder exported with its pretraining heads"
            raise UserError("the model has no masked-LM head", place=str(source.place), fix=fix)
        self.vocabulary = source.vocabulary
        self.max_tokens = source.config.max_position_embeddings
        self.model = source.model(source.objective).eval()

    def fill(self, text: str, top: int) -> list[Filling]:
        """Return the `top` most likely word pieces at each [MASK] of the text, in order.

        Raises `UserError` when the text has no [MASK], or is too long.
        """
        mask = self.vocabulary.name_of(MASK)
        encoding = self.vocabulary.tokenizer().encode(text)
        places = [place for place, piece in enumerate(encoding.ids) if piece == self.vocabulary.id_of(MASK)]
        if not places:
            fix = f"write {mask} where the model should fill in a word"
            raise UserError(f"the text has no {mask}", place=repr(text), fix=fix)
        if len(encoding.ids) > self.max_tokens:
            cause = f"the text has {len(encoding.ids)} tokens, the model accepts {self.max_tokens}"
            raise UserError(cause, fix="shorten the text")
        return self.fill_row(TokenRow.of(encoding), places, top)

    @torch.no_grad()
    def fill_row(self, row: TokenRow, places: Sequence[int], top: int) -> list[Filling]:
        """Return the `top` most likely word pieces at these positions of a row, the first of which is [CLS].

        A model from left to right predicts a piece from those before it, at the position before it.
        """
        shift = self.model.bert.config.is_left_to_right
        logits_MV, _ = self.model.logits(batch_of([row], [place - shift for place in places]))
        best = logits_MV.float().softmax(-1).topk(min(top, len(self.vocabulary)))
        return [
            Filling([self.vocabulary.pieces[piece] for piece in pieces], probabilities)
            for pieces, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
