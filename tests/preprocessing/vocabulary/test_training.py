"""Training is deterministic and gives the pieces of Hugging Face's trainer."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, models, trainers

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary import training
from preprocessing.vocabulary.span_table import SpanTable
from preprocessing.vocabulary.tokenizer_json import UNK
from preprocessing.vocabulary.training import alphabet, count_words, merge_pieces, train_vocabulary
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, bert_normalizer, bert_splitter
from preprocessing.vocabulary.wordpiece import Encoder

ROOT = Path(__file__).parents[3]
SYLLABLES = [
    "ba",
    "Be",
    "ko",
    "ling",
    "mé",
    "na",
    "or",
    "pré",
    "qui",
    "ra",
    "Stra",
    "tu",
    "vë",
    "zo",
    "中",
    "国",
    "ß's",
]


def make_texts(count: int = 200) -> list[str]:
    """Texts of random words, a few frequent and most rare."""
    rng = random.Random(7)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 5))) for _ in range(2_000)]
    return [" ".join(words[int(2_000 * rng.random() ** 4)] for _ in range(50)) + "." for _ in range(count)]


def config(size: int = 500, lowercase: bool = True, min_frequency: int = 2) -> VocabularyConfig:
    return VocabularyConfig(size=size, lowercase=lowercase, min_frequency=min_frequency)


def test_merges_match_a_worked_example() -> None:
    words = {"b": 9, "aab": 3, "ab": 2, "xab": 50}
    pieces = ["a", "##a", "##b", "b"]

    # a+##a and ##a+##b stand 3 times each: the smaller numbers first. That leaves aa+##b 3 times, and a+##b twice. No
    # piece spells the x.
    assert merge_pieces(words, pieces, size=100, min_frequency=1) == [*pieces, "aa", "aab", "ab"]
    assert merge_pieces(words, pieces, size=100, min_frequency=3) == [*pieces, "aa", "aab"]
    assert merge_pieces(words, pieces, size=5, min_frequency=1) == [*pieces, "aa"]
    assert merge_pieces(words, pieces, size=3, min_frequency=1) == pieces


def test_repeated_letters_merge_from_the_left() -> None:
    pieces = merge_pieces({"aaaaa": 2}, ["a", "##a"], size=100, min_frequency=1)

    # a ##aa ##aa, where both pairs stand as often: the one with the smaller numbers first.
    assert pieces == ["a", "##a", "##aa", "aaa", "aaaaa"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_merges_match_hugging_faces_trainer(lowercase: bool) -> None:
    texts = make_texts()
    words = count_words(texts, lowercase)
    start = [*SPECIAL_TOKENS, *alphabet(words, coverage=1.0, most_pieces=1_000)]
    reference = Tokenizer(models.WordPiece({}, unk_token=UNK))
    reference.normalizer = bert_normalizer(lowercase)
    reference.pre_tokenizer = bert_splitter()

    pieces = merge_pieces(words, start, size=700, min_frequency=2)

    # With its own alphabet the trainer numbers pieces as a hash map has them; given all of ours, it is deterministic.
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, min_frequency=2, limit_alphabet=0, special_tokens=start, show_progress=False
    )
    reference.train_from_iterator(texts, trainer)
    assert len(pieces) == 700
    assert {piece: number for number, piece in enumerate(pieces)} == reference.get_vocab()


def reference_counts(texts: list[str], lowercase: bool) -> dict[str, int]:
    normalizer, splitter = bert_normalizer(lowercase), bert_splitter()
    return Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        if len(word) <= 100
    )


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(), max_size=5), st.booleans())
def test_words_are_counted_as_hugging_face_splits_them(texts: list[str], lowercase: bool) -> None:
    assert count_words(texts, lowercase) == reference_counts(texts, lowercase)


def test_words_are_counted_beyond_the_span_tables_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = make_texts()
    monkeypatch.setattr(training, "SpanTable", partial(SpanTable, most_spans=50))

    assert count_words(texts, lowercase=True) == reference_counts(texts, lowercase=True)


def test_words_are_sorted_by_count_then_name() -> None:
    assert list(count_words(["b a c c"], lowercase=True).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_number_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_MOST_WORDS", 2)

    assert count_words(["b a c c"], lowercase=True) == {"c": 2, "a": 1}


def test_alphabet_has_characters_and_continuation_pieces() -> None:
    assert alphabet({"ab": 1, "b": 1, "中": 1}, coverage=1.0, most_pieces=100) == ["##b", "a", "b", "中"]


def test_alphabet_omits_characters_beyond_the_coverage() -> None:
    words = {"a": 9_000, "b": 999, "c": 1}

    assert alphabet(words, coverage=0.9999, most_pieces=100) == ["a", "b"]
    assert alphabet(words, coverage=1.0, most_pieces=100) == ["a", "b", "c"]
    assert alphabet(words, coverage=1.0, most_pieces=1) == ["a"]


def test_a_trained_vocabulary_begins_with_special_tokens_and_has_the_size() -> None:
    vocabulary = train_vocabulary(make_texts(), config())

    assert vocabulary.pieces[:5] == SPECIAL_TOKENS
    assert len(vocabulary) == len(set(vocabulary.pieces)) == 500
    assert vocabulary.lowercase


def test_trained_vocabulary_encodes_its_text_without_unknowns() -> None:
    texts = make_texts()
    vocabulary = train_vocabulary(texts, config(size=300))

    ids, _, _ = Encoder(vocabulary).encode(texts)

    assert vocabulary.ids[UNK] not in ids


def test_case_and_accents_follow_the_recipe() -> None:
    uncased = "".join(train_vocabulary(make_texts(), config()).pieces[5:])
    cased = "".join(train_vocabulary(make_texts(), config(lowercase=False)).pieces[5:])

    assert uncased == uncased.lower()
    assert not set("éë") & set(uncased)
    assert set("BSéë") <= set(cased)


def digest_of_training() -> str:
    return train_vocabulary(make_texts(), config()).entry().sha256


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = make_texts()
    random.Random(1).shuffle(texts)

    assert train_vocabulary(texts, config()).entry().sha256 == digest_of_training()


def test_another_process_trains_the_same_vocabulary() -> None:
    command = f"from {__name__} import digest_of_training; print(digest_of_training())"
    environment = os.environ | {"PYTHONHASHSEED": "4"}

    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == digest_of_training()


def test_small_text_gives_a_smaller_vocabulary_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vocabulary = train_vocabulary(["a few words, a few pieces"], config(min_frequency=1))

    assert 20 < len(vocabulary) < 60
    assert f"{len(vocabulary)} entries, not 500" in caplog.text


@pytest.mark.parametrize("texts", [[], [""], ["\x00 \u200d"]])
def test_text_without_words_is_refused_and_another_corpus_works(texts: list[str]) -> None:
    with pytest.raises(UserError, match="no words"):
        train_vocabulary(texts, config())
    assert train_vocabulary(["a word"], config())


def test_unused_slots_follow_the_special_tokens() -> None:
    plain = train_vocabulary(make_texts(), VocabularyConfig(size=300))

    vocabulary = train_vocabulary(make_texts(), VocabularyConfig(size=303, unused_slots=3))

    assert vocabulary.pieces == (*SPECIAL_TOKENS, "[unused0]", "[unused1]", "[unused2]", *plain.pieces[5:])
    assert {"[unused0]", "[unused2]"}.isdisjoint(vocabulary.pieces[number] for number in vocabulary.ordinary_ids)


def test_accents_are_kept_if_the_recipe_requests_it() -> None:
    stripped = train_vocabulary(make_texts(), VocabularyConfig(size=300))
    kept = train_vocabulary(make_texts(), VocabularyConfig(size=300, strip_accents=False))

    assert "é" not in "".join(stripped.pieces)
    assert "é" in "".join(kept.pieces)
    assert (kept.lowercase, kept.strip_accents) == (True, False)
    assert "".join(kept.pieces[5:]).islower()
