"""A vocabulary is judged by what the normaliser leaves of its pieces, and the casing that reaches them is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import VocabularyConfig
from preprocessing.vocabulary.reachability import casing_that_reaches, unreachable_pieces, unreachable_share
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.vocabulary_files import read_vocabulary

LATIN = [f"word{number}" for number in range(60)]
KOREAN = ["한국", "사람", "서울", "##은", "##는", "대한", "민국"]
KEEPS_ACCENTS = "lowercase=true, strip_accents=false"


def of(pieces: list[str], lowercase: bool = True, strip_accents: bool | None = None) -> Vocabulary:
    return Vocabulary((*SPECIAL_TOKENS, "[unused1]", *pieces), lowercase, strip_accents)


@pytest.mark.parametrize(
    ("pieces", "lowercase", "unreachable"),
    [
        (["Berlin", "berlin", "##Berlin"], True, ["Berlin"]),
        (["Berlin", "berlin"], False, []),
        (["café", "cafe", "año"], True, ["café", "año"]),
        (KOREAN, True, ["한국", "사람", "서울", "대한", "민국"]),
        (KOREAN, False, []),
        (["a-b", ".", "中", "中国", "##中", "ﬁn"], False, ["a-b", "中国"]),
        (["é".encode().decode(), "e\u0301"], False, []),
        (["a b", "x\u200by"], False, ["a b", "x\u200by"]),
    ],
)
def test_pieces_that_no_text_becomes(pieces: list[str], lowercase: bool, unreachable: list[str]) -> None:
    assert unreachable_pieces(of(pieces, lowercase)) == unreachable


@pytest.mark.parametrize(
    ("pieces", "lowercase", "casing"),
    [
        (KOREAN, True, KEEPS_ACCENTS),
        (["Berlin", "Haus", "und"], True, "lowercase=false, strip_accents=false"),
        (["Köln", "Haus", "und", "über"], True, "lowercase=false, strip_accents=false"),
        (LATIN, True, ""),
        (["a-b", *LATIN], True, ""),
    ],
)
def test_the_casing_that_reaches_most_pieces_is_named(pieces: list[str], lowercase: bool, casing: str) -> None:
    assert casing_that_reaches(of(pieces, lowercase)) == casing


def test_the_fix_makes_the_pieces_reachable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of(KOREAN).write(tmp_path / "vocab.txt")
    assert unreachable_share(read_vocabulary(tmp_path / "vocab.txt", VocabularyConfig())) == 1.0
    assert "text never becomes 100 % of the pieces" in caplog.text
    assert f"set {KEEPS_ACCENTS} in data.vocabulary" in caplog.text
    caplog.clear()
    fixed = VocabularyConfig(lowercase=True, strip_accents=False)
    assert unreachable_share(read_vocabulary(tmp_path / "vocab.txt", fixed)) == 0.0
    assert caplog.text == ""


def test_a_few_unreachable_pieces_are_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of([*LATIN, "Berlin", "##Haus", "##中"]).write(tmp_path / "vocab.txt")
    read_vocabulary(tmp_path / "vocab.txt", VocabularyConfig())
    assert caplog.text == ""
