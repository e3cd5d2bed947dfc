"""Train a WordPiece vocabulary: the characters of the text, then merges of the most frequent pairs of adjacent pieces.

Words are counted once, with the span table that encoding also uses. Then, as in byte-pair encoding (Sennrich et al.
2016, and Hugging Face's WordPiece trainer), the most frequent pair of adjacent pieces becomes a new piece, until the
vocabulary is full. Ties are broken by name or by number, so the same words always give the same vocabulary, whatever
the order of the text. Memory holds distinct words, not text.

This is why it is our own: three trainings of Hugging Face's WordPiece trainer on one text gave three vocabularies.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary.span_cuts import WordSplitter, joined
from preprocessing.vocabulary.span_table import END_OF_SENTENCE, SpanTable
from preprocessing.vocabulary.vocabulary import CONTINUATION, MAX_WORD_CHARS, SPECIAL_TOKENS, Vocabulary

Pair = tuple[int, int]

_BLOCK_CHARACTERS = 1 << 20
_MOST_WORDS = 500_000  # rarer words are ignored: they do not affect the pairs that matter
_CHARACTER_COVERAGE = 0.9999  # fraction of a text's characters that its alphabet covers

logger = logging.getLogger(__name__)


def train_vocabulary(texts: Iterable[str], config: VocabularyConfig) -> Vocabulary:
    """Train the vocabulary of `texts`: special tokens, unused slots, characters (also as `##` pieces), then merges.

    Merges are sorted by decreasing count. A text with too few distinct words for `config.size` gives a smaller
    vocabulary and a warning. Raises `UserError` for a text without words.
    """
    words = count_words(texts, config.lowercase, config.strip_accents)
    if not words:
        raise UserError("the corpus contains no words to train a vocabulary on", fix="check data.corpora")
    named = [*SPECIAL_TOKENS, *(f"[unused{slot}]" for slot in range(config.unused_slots))]
    pieces = [*named, *alphabet(words, _CHARACTER_COVERAGE, (config.size - config.unused_slots) // 2)]
    pieces = merge_pieces(words, pieces, config.size, config.min_frequency)
    if len(pieces) < config.size:
        logger.warning("the corpus yields a vocabulary of %d entries, not %d", len(pieces), config.size)
    return Vocabulary(tuple(pieces), config.lowercase, config.strip_accents)


def count_words(texts: Iterable[str], lowercase: bool, strip_accents: bool | None = None) -> dict[str, int]:
    """Count each word in the texts. The most frequent word comes first; words with equal counts are sorted by name."""
    words: Counter[str] = Counter()
    splitter = WordSplitter(lowercase, strip_accents)
    for span, count in _count_spans(texts, lowercase):
        for word in splitter.words(span):
            if len(word) <= MAX_WORD_CHARS:
                words[word] += count
    return dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS])


def alphabet(words: dict[str, int], coverage: float, most_pieces: int) -> list[str]:
    """Return the pieces of one character, sorted. A character that occurs inside words also gives a `##` piece.

    Takes the most frequent characters until they cover the fraction `coverage` of all (an idea from SentencePiece), so
    that thousands of rare symbols do not displace words, and at most `most_pieces` pieces.
    """
    counts: Counter[str] = Counter()
    inside = set[str]()
    for word, count in words.items():
        for character in word:
            counts[character] += count
        inside.update(word[1:])
    enough = coverage * counts.total()
    pieces: list[str] = []
    covered = 0
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        forms = [character, CONTINUATION + character] if character in inside else [character]
        if covered >= enough or len(pieces) + len(forms) > most_pieces:
            break
        covered += count
        pieces += forms
    return sorted(pieces)


def merge_pieces(words: dict[str, int], pieces: list[str], size: int, min_frequency: int) -> list[str]:
    """Return `pieces` and merges, up to `size` in total. A pair must occur at least `min_frequency` times.

    Words with a character that is not in `pieces` are ignored. Ties go to the pair with the smaller numbers.
    """
    pieces = list(pieces)
    ids = {piece: number for number, piece in enumerate(pieces)}
    index = _PairIndex(words, ids)
    while len(pieces) < size:
        pair = index.pop_commonest(min_frequency)
        if pair is None:
            break
        piece = pieces[pair[0]] + pieces[pair[1]].removeprefix(CONTINUATION)
        if piece not in ids:  # otherwise, a merge of other parts created it
            ids[piece] = len(pieces)
            pieces.append(piece)
        index.merge(pair, ids[piece])
    return pieces


class _PairIndex:
    """The words as sequences of piece numbers, and each pair of adjacent pieces with its count and its words."""

    def __init__(self, words: dict[str, int], ids: dict[str, int]) -> None:
        spelt = [([ids.get(piece, -1) for piece in _characters(word)], count) for word, count in words.items()]
        self._spelt = [(symbols, count) for symbols, count in spelt if min(symbols) >= 0]
        self._counts: Counter[Pair] = Counter()
        self._places: defaultdict[Pair, list[int]] = defaultdict(list)  # can repeat words, or list former ones
        for place, (symbols, count) in enumerate(self._spelt):
            for pair in pairwise(symbols):
                self._counts[pair] += count
                self._places[pair].append(place)
        # Holds each pair with its current count, and possibly with older counts.
        self._queue = [(-count, pair) for pair, count in self._counts.items()]
        heapq.heapify(self._queue)

    def pop_commonest(self, min_count: int) -> Pair | None:
        """Remove the most frequent pair from the queue. Returns None when it occurs fewer than `min_count` times."""
        while self._queue:
            negative, pair = heapq.heappop(self._queue)
            if -negative < min_count:
                return None
            if -negative == self._counts[pair]:
                return pair
        return None

    def merge(self, pair: Pair, merged: int) -> None:
        """Replace the pair with the piece `merged` in all words."""
        changes: defaultdict[Pair, int] = defaultdict(int)
        for place in self._places.pop(pair):
            symbols, count = self._spelt[place]
            for lost, gained in _replace(symbols, pair, merged):
                changes[lost] -= count
                changes[gained] += count
                self._places[gained].append(place)
        del self._counts[pair]
        changes.pop(pair, None)
        for changed, change in changes.items():
            if change:
                self._counts[changed] += change
                heapq.heappush(self._queue, (-self._counts[changed], changed))


def _replace(symbols: list[int], pair: Pair, merged: int) -> list[tuple[Pair, Pair]]:
    """Replace the pair in one word. Returns each adjacent pair that this removes, and the pair that replaces it."""
    first, second = pair
    changes: list[tuple[Pair, Pair]] = []
    place = 0
    while place < len(symbols) - 1:
        if symbols[place] == first and symbols[place + 1] == second:
            symbols[place : place + 2] = [merged]
            if place > 0:
                before = symbols[place - 1]
                changes.append(((before, first), (before, merged)))
            if place + 1 < len(symbols):
                after = symbols[place + 1]
                changes.append(((second, after), (merged, after)))
        place += 1
    return changes


def _characters(word: str) -> Iterator[str]:
    yield word[0]
    for character in word[1:]:
        yield CONTINUATION + character


def _count_spans(texts: Iterable[str], lowercase: bool) -> Iterator[tuple[str, int]]:
    """Yield each span and its count. A span can appear several times when the table overflows."""
    table = SpanTable(lowercase)
    counts = np.zeros(table.most_spans, np.int64)
    for block in _blocks(texts):
        text = joined(block)
        position = 0
        while position < len(text):
            if not table.has_room(len(text) - position):
                yield from zip(table.texts(), counts.tolist(), strict=False)
                table.clear(len(text) - position)
                counts.fill(0)
            stream, position = table.scan(text, position)
            counts[: len(table)] += np.bincount(stream[stream != END_OF_SENTENCE], minlength=len(table))
    yield from zip(table.texts(), counts.tolist(), strict=False)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of texts of about `_BLOCK_CHARACTERS` characters."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    yield block
