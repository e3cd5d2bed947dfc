"""Which tokens belong to one word, for whole-word masking.

A word is a word piece and the continuation pieces (`##`) after it, with two exceptions. In scripts without blanks
between words (Thai, Lao, Tibetan, Burmese, Khmer) such a chain is a whole clause, so each of its pieces is a word.
Chinese characters are separate pieces, and each is a word, or jieba joins them into words.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.machine import install_extra
from configs.schema import MaskingConfig
from preprocessing.dataset import IntArray
from preprocessing.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import jieba

UNSPACED_SCRIPTS = "\u0e01-\u0e4e\u0e81-\u0ece\u0f40-\u0fbc\u1000-\u109f\u1780-\u17d3"
CHINESE_CHARACTERS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED_PIECE = re.compile(f"##[{UNSPACED_SCRIPTS}]")
_CHINESE_PIECE = re.compile(f"[{CHINESE_CHARACTERS}]")
_MOST_CLAUSES = 1 << 17  # whose words are remembered, because the passes repeat them

Bools = NDArray[np.bool_]


def require_segmenter(config: MaskingConfig) -> None:
    """Raise `UserError` unless the segmenter that the recipe names is installed."""
    if config.chinese_words == "characters":
        return
    try:
        import jieba  # noqa: F401  # only this option needs it
    except ImportError as error:
        fix = f'{install_extra("chinese")}; or set data.chinese_words="characters"'
        raise UserError("Chinese words need jieba", place="data.chinese_words", fix=fix) from error


def continues_word(ids: IntArray, vocabulary: Vocabulary, config: MaskingConfig) -> Bools:
    """Return for each token whether it continues the word of the token before it; bool [tokens].

    `ids` are the tokens of any number of rows, before masking, with [CLS] and [SEP]. The first token of a segment never
    counts as a continuation, which callers see to.
    """
    if not config.whole_word_masking:
        return np.zeros(len(ids), np.bool_)
    continues: Bools = _joins(vocabulary)[ids]
    if config.chinese_words == "jieba":
        continues |= _inside_chinese_words(ids, vocabulary)
    return continues


@lru_cache(4)
def _joins(vocabulary: Vocabulary) -> Bools:
    """Return for each piece whether it continues a word; bool [pieces]."""
    is_unspaced = np.array([_UNSPACED_PIECE.match(piece) is not None for piece in vocabulary.pieces], np.bool_)
    return vocabulary.is_continuation & ~is_unspaced


@lru_cache(4)
def _is_chinese(vocabulary: Vocabulary) -> Bools:
    """Return for each piece whether it is a Chinese character; bool [pieces]."""
    return np.array([_CHINESE_PIECE.fullmatch(piece) is not None for piece in vocabulary.pieces], np.bool_)


def _inside_chinese_words(ids: IntArray, vocabulary: Vocabulary) -> Bools:
    """Return for each token whether it is a Chinese character that jieba joins to the one before it."""
    is_chinese = np.concatenate([[False], _is_chinese(vocabulary)[ids], [False]])
    borders = np.flatnonzero(is_chinese[1:] != is_chinese[:-1]).reshape(-1, 2)
    inside = np.zeros(len(ids), np.bool_)
    for begin, end in borders.tolist():
        clause = "".join(vocabulary.pieces[token] for token in ids[begin:end].tolist())
        inside[begin:end] = True
        inside[begin + np.array(_word_starts(clause))] = False
    return inside


@lru_cache(_MOST_CLAUSES)
def _word_starts(clause: str) -> tuple[int, ...]:
    """Return where the words of a run of Chinese characters begin (jieba's exact mode, with its HMM)."""
    starts = [0]
    for word in _segmenter().cut(clause):
        starts.append(starts[-1] + len(word))
    return tuple(starts[:-1])


@cache
def _segmenter() -> jieba.Tokenizer:
    """Return jieba with its own dictionary, read without its cache, which any user could have put into /tmp."""
    import jieba

    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
