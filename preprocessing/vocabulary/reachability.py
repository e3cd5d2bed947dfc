"""Which pieces of a vocabulary text can become: those that the normaliser leaves as they are.

A vocabulary of Korean syllables, for example, is useless in an uncased model: stripping accents takes syllables apart.
Only pieces that begin a word are judged. Published vocabularies hold continuations that no text becomes (`##中`), which
does no harm.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from preprocessing.vocabulary.vocabulary import (
    CONTINUATION,
    SPECIAL_TOKENS,
    UNUSED,
    Vocabulary,
    bert_normalizer,
    bert_splitter,
)

_MOST_UNREACHABLE = 0.05
_CASINGS = ((True, True), (True, False), (False, False), (False, True))  # lowercase, strip_accents

logger = logging.getLogger(__name__)


def unreachable_pieces(vocabulary: Vocabulary) -> list[str]:
    """Return the pieces that begin a word and that no text becomes, in the order of their ids."""
    normalizer, splitter = bert_normalizer(vocabulary.lowercase, vocabulary.strip_accents), bert_splitter()

    def is_reachable(piece: str) -> bool:
        if piece.isascii() and piece.isalnum():
            return not vocabulary.lowercase or piece == piece.lower()
        return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(piece))] == [piece]

    return [piece for piece in _initial_pieces(vocabulary) if not is_reachable(piece)]


def unreachable_share(vocabulary: Vocabulary) -> float:
    """Return the share of the pieces that begin a word which no text becomes; 0 for those of another tokenizer."""
    if vocabulary.source:
        return 0.0
    return len(unreachable_pieces(vocabulary)) / max(1, len(_initial_pieces(vocabulary)))


def lacks_capitals(vocabulary: Vocabulary) -> bool:
    """Return whether most words of a vocabulary are of small letters and none has a capital, as in uncased ones."""
    pieces = _initial_pieces(vocabulary)
    small = sum(piece != piece.upper() for piece in pieces)
    return 2 * small > len(pieces) and not any(piece != piece.lower() for piece in pieces)


def casing_that_reaches(vocabulary: Vocabulary) -> str:
    """Return the settings with which most pieces are reachable, as a recipe has them, or "" for the present ones.

    A tokenizer that is not BERT's has a casing of its own.
    """
    if vocabulary.source:
        return ""
    casings = {casing: replace(vocabulary, lowercase=casing[0], strip_accents=casing[1]) for casing in _CASINGS}
    shares = {casing: unreachable_share(other) for casing, other in casings.items()}
    best = min(_CASINGS, key=lambda casing: shares[casing])
    if shares[best] >= shares[vocabulary.lowercase, bool(vocabulary.strip_accents)]:
        return ""
    return f"lowercase={str(best[0]).lower()}, strip_accents={str(best[1]).lower()}"


def warn_of_unreachable(vocabulary: Vocabulary, path: str | Path) -> None:
    """Warn of a vocabulary whose pieces the recipe's casing makes unreachable, because their words become [UNK]."""
    pieces = unreachable_pieces(vocabulary)
    share = len(pieces) / max(1, len(_initial_pieces(vocabulary)))
    casing = casing_that_reaches(vocabulary) if share > _MOST_UNREACHABLE else ""
    if casing:
        logger.warning(
            "%s: text never becomes %.0f %% of the pieces, such as `%s`, with this casing; set %s in data.vocabulary",
            path,
            100 * share,
            pieces[len(pieces) // 2],
            casing,
        )


def _initial_pieces(vocabulary: Vocabulary) -> list[str]:
    return [
        piece
        for piece in vocabulary.pieces
        if not piece.startswith(CONTINUATION) and piece not in SPECIAL_TOKENS and not UNUSED.fullmatch(piece)
    ]
