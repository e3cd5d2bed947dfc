"""Words are split into the pieces that Hugging Face's model finds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer

from preprocessing.vocabulary.piece_trie import PieceTrie
from preprocessing.vocabulary.tokenizer_json import UNK
from preprocessing.vocabulary.vocabulary import CONTINUATION, SPECIAL_TOKENS, Vocabulary

fragments = st.text("abéÉ中ж\U0001f600", min_size=1, max_size=4)
words = st.one_of(st.lists(fragments, min_size=1, max_size=8).map("".join), st.sampled_from(["a" * 100, "é" * 101]))


def vocabulary(pieces: Sequence[str]) -> Vocabulary:
    return Vocabulary((*SPECIAL_TOKENS, *dict.fromkeys(pieces)), lowercase=False)


def split(vocabulary: Vocabulary, words: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the ids of each word, and its numbers of characters."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)])
    found = PieceTrie(vocabulary).split(np.frombuffer(b"".join(encoded), np.uint8), ends[:-1], ends[1:])
    borders = pairwise([0, *np.cumsum(found.counts).tolist()])
    return [found.ids[start:end].tolist() for start, end in borders], found.characters.tolist()


@settings(deadline=None)  # the first call compiles
@given(st.lists(fragments), st.lists(fragments.map(CONTINUATION.__add__)), st.lists(words, min_size=1, max_size=5))
def test_words_have_the_pieces_of_tokenizers(beginning: list[str], continuing: list[str], words: list[str]) -> None:
    one = vocabulary([*beginning, *continuing])
    model = Tokenizer(one.model())

    ids, _ = split(one, words)

    assert ids == [model.encode([word], is_pretokenized=True).ids for word in words]


def test_a_continuation_without_characters_is_no_piece() -> None:
    one = vocabulary(["a", CONTINUATION, "##b"])

    ids, _ = split(one, ["ab", "ac"])

    assert ids == [[one.ids["a"], one.ids["##b"]], [one.ids[UNK]]]


def test_characters_of_unknown_and_of_long_words_are_counted() -> None:
    ids, characters = split(vocabulary(["a", "##é"]), ["aéé", "b中", "é" * 101])

    assert [len(of_word) for of_word in ids] == [3, 1, 1]
    assert characters == [[3, 0, 0], [2, 2, 0], [101, 101, 101]]
