"""Whole words: continuation pieces, Chinese words by jieba, and scripts without blanks between words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import MaskingConfig
from preprocessing.dataset.shard import read_shard
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.whole_words import continues_word, require_segmenter
from tests.preprocessing.corpora import small_config, write_text

CLAUSE = "北京大学的学生喜欢研究自然语言处理技术"  # 北京大学 的 学生 喜欢 研究 自然语言 处理 技术
PIECES = (*SPECIAL_TOKENS, *dict.fromkeys(CLAUSE), "。", "3", "d", "##og", "กา", "##รงาน", "##ด", "##x")


def continues(text: str, **masking: object) -> str:
    """The tokens of `text`, separated by blanks, as characters: `-` continues a word, `+` does not."""
    vocabulary = Vocabulary(PIECES, lowercase=True)
    ids = np.array([PIECES.index(piece) for piece in text.split()], np.uint16)
    config = MaskingConfig.model_validate({"whole_word_masking": True, **masking})
    return "".join("+-"[int(flag)] for flag in continues_word(ids, vocabulary, config))


def test_pieces_continue_words_only_if_words_are_masked() -> None:
    assert continues("[CLS] d ##og d [SEP] d ##og ##x [SEP]") == "++-+++--+"
    assert continues("[CLS] d ##og [SEP]", whole_word_masking=False) == "++++"


def test_clause_of_a_script_without_blanks_is_no_single_word() -> None:
    assert continues("[CLS] กา ##รงาน ##ด d ##og [SEP]") == "+++++-+"


def test_chinese_characters_are_words_or_joined_by_jieba() -> None:
    characters = f"[CLS] {' '.join(CLAUSE)} [SEP]"
    assert continues(characters) == "+" * (len(CLAUSE) + 2)
    words = "+---" "+" "+-" "+-" "+-" "+---" "+-" "+-"  # fmt: skip
    assert continues(characters, chinese_words="jieba") == f"+{words}+"


def test_chinese_words_end_at_every_other_token() -> None:
    assert continues("[CLS] 北 京 [SEP] 大 学 [SEP]", chinese_words="jieba") == "++-++-+"
    assert continues("[CLS] 北 3 京 。 大 d ##og 学 [UNK] [SEP]", chinese_words="jieba") == "+++++++-+++"
    assert continues("[CLS] d [SEP]", chinese_words="jieba") == "+++"


def test_segmenter_needs_whole_words_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="chinese_words needs whole_word_masking"):
        MaskingConfig(chinese_words="jieba")
    config = MaskingConfig(whole_word_masking=True, chinese_words="jieba")
    require_segmenter(config)
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(UserError, match="Chinese words need jieba") as missing:
        require_segmenter(config)
    assert "install the extra `chinese`: " in missing.value.fix


@pytest.mark.parametrize("mask_word_once", [False, True])
def test_rows_of_a_data_set_mask_whole_chinese_words(tmp_path: Path, mask_word_once: bool) -> None:
    clauses = [
        "北京大学的学生喜欢研究自然语言处理技术",
        "我们今天去图书馆看书",
        "上海的天气非常好",
        "他在公司工作了三年",
    ]
    documents = [
        "".join(f"{clauses[(number * step) % 4]}。" for step in range(1, 12)) + str(number) for number in range(60)
    ]
    corpus = write_text(tmp_path / "corpus.txt", documents)
    config = small_config(
        tmp_path / "data", corpus, language="zh", whole_word_masking=True, chinese_words="jieba",
        mask_word_once=mask_word_once, held_out_fraction=0.0, objective="none",
    )  # fmt: skip
    manifest = prepare(config)
    assert not list(verify(Path(config.dataset)))
    vocabulary = Vocabulary.read(Path(config.dataset) / "vocab.txt", lowercase=True)
    rows = read_shard(Path(config.dataset) / manifest.select("train", 0)[0].name)
    masked = {
        "".join(vocabulary.pieces[token] for token in run)
        for begin, end in zip(rows.masked_offsets[:-1], rows.masked_offsets[1:], strict=True)
        for run in np.split(
            rows.masked_lm_ids[begin:end], np.flatnonzero(np.diff(rows.masked_lm_positions[begin:end]) != 1) + 1
        )
    }
    assert {"自然语言", "图书馆", "北京大学"} <= masked
