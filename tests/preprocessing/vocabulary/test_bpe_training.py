"""A byte-level BPE is the same for the same text in any order, and has a token for every byte."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary.bpe_training import train_byte_level_bpe
from preprocessing.vocabulary.tokenizer_encoder import encoder_of
from preprocessing.vocabulary.tokenizer_json import MASK
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS
from tests.preprocessing.vocabulary.test_training import make_texts
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import LINES

ROOT = Path(__file__).parents[3]


def config(size: int = 400, **settings: int) -> VocabularyConfig:
    return VocabularyConfig.model_validate({"kind": "tokenizer", "size": size, **settings})


def test_the_order_of_the_text_and_the_threads_change_nothing() -> None:
    texts = make_texts()
    trained = train_byte_level_bpe(texts, config())
    assert len(trained) == 400
    for seed in range(3):
        assert train_byte_level_bpe(random.Random(seed).sample(texts, len(texts)), config()) == trained
    code = (
        "from tests.preprocessing.vocabulary.test_bpe_training import *\n"
        "print(train_byte_level_bpe(make_texts(), config()).sha256)"
    )
    for threads in ("1", "2"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert ended.stdout.strip() == trained.sha256


def test_special_tokens_come_first_then_bytes_then_merges() -> None:
    trained = train_byte_level_bpe(LINES, config(size=300, unused_slots=2))
    assert trained.pieces[:7] == (*SPECIAL_TOKENS, "[unused0]", "[unused1]")
    assert {len(piece) for piece in trained.pieces[7:263]} == {1}
    assert min(len(piece) for piece in trained.pieces[263:]) > 1
    assert set(range(7, len(trained))) == set(trained.ordinary_ids.tolist())


def test_every_text_comes_back() -> None:
    trained = train_byte_level_bpe(["aaa bbb aaa"], config(size=262))
    ids, _, characters = encoder_of(trained).encode(LINES)
    assert trained.tokenizer().decode(ids.tolist()) == "".join(LINES)
    assert characters[:, 1].sum() == 0


def test_a_literal_mask_takes_the_blank_before_it() -> None:
    trained = train_byte_level_bpe(LINES, config())
    tokenizer = trained.tokenizer()
    before, after = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("the worst", " times"))
    masked = tokenizer.encode("the worst [MASK] times", add_special_tokens=False).ids
    assert masked == [*before, trained.id_of(MASK), *after]


def test_a_small_corpus_yields_fewer_entries_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trained = train_byte_level_bpe(["ab ab ab"], config(size=300))
    assert len(trained) < 300
    assert f"the corpus yields a vocabulary of {len(trained)} entries, not 300" in caplog.text


def test_a_corpus_without_words_is_refused_and_another_works() -> None:
    with pytest.raises(UserError, match="the corpus contains no words to train a vocabulary on"):
        train_byte_level_bpe([], config())
    assert len(train_byte_level_bpe(LINES, config())) == 400


def test_a_size_below_the_bytes_is_refused() -> None:
    with pytest.raises(ValidationError, match="size 262 is below the 263 bytes and special tokens of a byte-level BPE"):
        config(size=262, unused_slots=2)
    assert config(size=263, unused_slots=2).size == 263
    assert VocabularyConfig(kind="tokenizer", size=100, file="tokenizer.json").size == 100
