"""Which tokens belong to one word, for whole-word masking.

A word is a word piece and the continuation pieces (`##`) after it, with two exceptions. In scripts without blanks
between words (Thai, Lao, Tibetan, Burmese, Khmer) such a chain is a whole clause, so each of its pieces is a word.
Chinese characters are separate pieces, and each is a word, or jieba joins them into words.

The words of any other tokenizer are those that its splitter makes: SentencePiece's begin with `▁`, and byte-level ones
where the splitter cuts the text of a row.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.errors import UserError
from configs.machine import install_extra
from configs.schema import MaskingConfig
from preprocessing.dataset import IntArray
from preprocessing.vocabulary.blank_cuts import BlankCutter, separation
from preprocessing.vocabulary.span_cuts import SENTENCE_END
from preprocessing.vocabulary.span_table import END_OF_SENTENCE, SpanTable
from preprocessing.vocabulary.tokenizer_json import TokenizerJson, parts_of
from preprocessing.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import jieba

UNSPACED_SCRIPTS = "\u0e01-\u0e4e\u0e81-\u0ece\u0f40-\u0fbc\u1000-\u109f\u1780-\u17d3"
CHINESE_CHARACTERS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED_PIECE = re.compile(f"##[{UNSPACED_SCRIPTS}]")
_CHINESE_PIECE = re.compile(f"[{CHINESE_CHARACTERS}]")
_SURROGATES = re.compile("[\udc80-\udcff]")  # bytes of a character that a row cuts off
_MOST_CLAUSES = 1 << 17  # whose words are remembered, because the passes repeat them

Bools = NDArray[np.bool_]


def require_words(vocabulary: Vocabulary, config: MaskingConfig) -> None:
    """Raise `UserError` if the recipe masks whole words, and the tokens do not tell where words begin."""
    if config.whole_word_masking and vocabulary.source and _words_of(vocabulary.source) == "unknown":
        cause = "the tokens of this tokenizer do not tell where words begin"
        raise UserError(cause, place="data.whole_word_masking", fix="set data.whole_word_masking=false")


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
    if vocabulary.source:
        return _continues_in(vocabulary, ids)
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


def _words_of(source: TokenizerJson) -> Literal["bytes", "begun", "continued", "ended", "single", "unknown"]:
    """Return how the tokens tell where words begin.

    bytes: by their texts; begun: with `▁`; continued, ended: with the model's prefix or suffix; single: each is a word.
    """
    model = source.fields["model"]
    splitters = {one["type"] for one in parts_of(source.fields.get("pre_tokenizer"), "pretokenizers")}
    if source.is_byte_level:
        return "bytes"
    if "Metaspace" in splitters:
        return "begun"
    if model.get("continuing_subword_prefix"):
        return "continued"
    if model.get("end_of_word_suffix"):
        return "ended"
    return "single" if model.get("type") == "WordLevel" else "unknown"


def _continues_in(vocabulary: Vocabulary, ids: IntArray) -> Bools:
    """Return for each token of another tokenizer than BERT's whether it continues the word of the one before it."""
    assert vocabulary.source
    kind, model = _words_of(vocabulary.source), vocabulary.source.fields["model"]
    continues = np.zeros(len(ids), np.bool_)
    if kind == "bytes":
        continues = _byte_words(vocabulary).continue_in(ids)
    elif kind == "ended":
        continues[1:] = ~_pieces_that(vocabulary, "endswith", model["end_of_word_suffix"])[ids[:-1]]
    elif kind == "continued":
        continues = _pieces_that(vocabulary, "startswith", model["continuing_subword_prefix"])[ids]
    elif kind == "begun":
        continues = ~_pieces_that(vocabulary, "startswith", "\u2581")[ids]
    return continues


@lru_cache(4)
def _pieces_that(vocabulary: Vocabulary, method: str, affix: str) -> Bools:
    return np.array([getattr(piece, method)(affix) for piece in vocabulary.pieces], np.bool_)


class _ByteWords:
    """Where words begin in rows of a byte-level tokenizer: where its splitter cuts their text, each span of it once."""

    def __init__(self, vocabulary: Vocabulary, source: TokenizerJson) -> None:
        self._splitter = source.tokenizer().pre_tokenizer
        content = [_bytes_of(piece, source) for piece in vocabulary.pieces]
        self._content = np.frombuffer(b"".join(content), np.uint8)
        self._ends = np.cumsum([0, *map(len, content)])  # token n: content[ends[n] : ends[n + 1]]
        self._table = SpanTable(lowercase=False, cutter=BlankCutter(source, separation(source)))
        self._begins: Bools = np.zeros(1 << 20, np.bool_)  # for each byte of a span, whether a word begins there
        self._span_ends = np.zeros(self._table.most_spans + 1, np.int64)  # span n: begins[ends[n] : ends[n + 1]]
        self._split = 0  # the number of spans whose words are known

    def continue_in(self, ids: IntArray) -> Bools:
        """Return for each token whether no word begins with it."""
        text, starts = _text_of(ids, self._content, self._ends)
        begins = np.ones(len(text), np.bool_)
        position = 0
        while position < len(text):
            if not self._table.has_room(len(text) - position):
                self._table.clear(len(text) - position)
                self._split = 0
            stream, end = self._table.scan(text, position)
            self._split_new_spans()
            _mark(stream, self._begins, self._span_ends, begins[position:])
            position = end
        continues: Bools = ~begins[starts]
        return continues

    def _split_new_spans(self) -> None:
        keys, ends = self._table.keys(self._split)
        for start, end in pairwise(ends.tolist()):
            span = keys[start:end].tobytes().rstrip(b"\0")
            begin = int(self._span_ends[self._split])
            while begin + len(span) > len(self._begins):
                self._begins = np.concatenate([self._begins, self._begins])
            self._begins[begin : begin + len(span)] = self._words(span)
            self._split += 1
            self._span_ends[self._split] = begin + len(span)

    def _words(self, span: bytes) -> Bools:
        """Return for each byte of a span whether a word begins with it. A byte of a cut character is a letter."""
        text = span.decode(errors="surrogateescape")
        lengths = [1 if "\udc80" <= character <= "\udcff" else len(character.encode()) for character in text]
        places = np.cumsum([0, *lengths])
        begins = np.zeros(len(span), np.bool_)
        for _, (start, _) in self._splitter.pre_tokenize_str(_SURROGATES.sub("a", text)):
            begins[places[start]] = True
        return begins


@lru_cache(4)
def _byte_words(vocabulary: Vocabulary) -> _ByteWords:
    assert vocabulary.source
    return _ByteWords(vocabulary, vocabulary.source)


def _bytes_of(piece: str, source: TokenizerJson) -> bytes:
    """Return the bytes of a token. A special one ends a text, and two bytes that have a meaning here are replaced."""
    bytes_of = _byte_of_character()
    if piece in source.special:
        return bytes([SENTENCE_END])
    if any(character not in bytes_of for character in piece):
        return piece.encode()  # an added token
    content = bytes(bytes_of[character] for character in piece)
    return content.replace(b"\0", b"\x01").replace(bytes([SENTENCE_END]), b"\xfe")


@lru_cache(4)
def shown_pieces(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return each piece as text to read. Byte-level ones are decoded, with `▁` for a blank and `\\xe9` for a cut byte.

    A piece whose text is also that of another one stays as it is.
    """
    if not (vocabulary.source and vocabulary.source.is_byte_level):
        return vocabulary.pieces
    bytes_of, special = _byte_of_character(), vocabulary.source.special
    texts = [
        piece
        if piece in special or any(character not in bytes_of for character in piece)
        else bytes(bytes_of[character] for character in piece).decode(errors="backslashreplace")
        for piece in vocabulary.pieces
    ]
    readable = [text.replace(" ", "\u2581").replace("\n", "\\n").replace("\t", "\\t") for text in texts]
    count = Counter(readable)
    unclear = {text for text, pieces in count.items() if pieces > 1 or not text.isprintable()}
    return tuple(piece if text in unclear else text for piece, text in zip(vocabulary.pieces, readable, strict=True))


@cache
def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level token stands for, as in GPT-2."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


@compiled
def _text_of(
    ids: IntArray, content: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of all tokens, with an end of a text after them, and where each token begins."""
    starts = np.zeros(len(ids), np.int64)
    length = 0
    for place in range(len(ids)):
        starts[place] = length
        length += ends[ids[place] + 1] - ends[ids[place]]
    text = np.full(length + 1, SENTENCE_END, np.uint8)
    for place in range(len(ids)):
        begin = ends[ids[place]]
        for byte in range(ends[ids[place] + 1] - begin):
            text[starts[place] + byte] = content[begin + byte]
    return text, starts


@compiled
def _mark(stream: NDArray[np.int32], of_spans: Bools, span_ends: NDArray[np.int64], begins: Bools) -> None:
    """Copy the beginnings of words of a stream of spans. The end of a text is a byte of its own."""
    place = 0
    for number in stream:
        if number == END_OF_SENTENCE:
            place += 1
        else:
            for byte in range(span_ends[number], span_ends[number + 1]):
                begins[place] = of_spans[byte]
                place += 1
