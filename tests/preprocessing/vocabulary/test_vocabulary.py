"""A vocabulary file is read unchanged, or refused with the error and its line."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary

PIECES = (*SPECIAL_TOKENS, "the", "cap", "##ital", "of", ".")


def write_lines(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


@pytest.mark.parametrize("lowercase", [True, False])
def test_vocabulary_round_trip(tmp_path: Path, lowercase: bool) -> None:
    vocabulary = Vocabulary(PIECES, lowercase)

    vocabulary.write(tmp_path / "vocab.txt")

    assert (tmp_path / "vocab.txt").read_text() == "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncap\n##ital\nof\n.\n"
    assert Vocabulary.read(tmp_path / "vocab.txt", lowercase) == vocabulary
    assert list(tmp_path.iterdir()) == [tmp_path / "vocab.txt"]


@given(pieces=st.sets(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1)))
def test_any_pieces_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, pieces: set[str]) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *sorted(pieces - set(SPECIAL_TOKENS))), lowercase=False)

    vocabulary.write(path)

    assert Vocabulary.read(path, lowercase=False) == vocabulary


def test_unicode_line_separators_can_be_pieces(tmp_path: Path) -> None:
    pieces = [*SPECIAL_TOKENS, "\x85", "\u2028", "\x0b", "\xa0"]

    vocabulary = Vocabulary.read(write_lines(tmp_path / "vocab.txt", pieces), lowercase=True)

    assert list(vocabulary.pieces) == pieces


def test_windows_files_are_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "vocab.txt", ["\ufeff[PAD]", *PIECES[1:]], end="\r\n")

    assert Vocabulary.read(path, lowercase=True).pieces == PIECES


def test_last_line_end_is_optional(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES))

    assert Vocabulary.read(path, lowercase=True).pieces == PIECES


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "lacks [PAD], [UNK], [CLS], [SEP], [MASK]"),
        (["[PAD]", "[UNK]", "[CLS]", "the"], "lacks [SEP], [MASK]"),
        ([*PIECES, "of"], "line 11: `of` appears twice"),
        ([*PIECES[:6], "", *PIECES[6:]], "line 7: the vocabulary has an empty line"),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, lines: list[str], fault: str) -> None:
    path = write_lines(tmp_path / "vocab.txt", lines)

    with pytest.raises(UserError, match=re.escape(fault)) as caught:
        Vocabulary.read(path, lowercase=True)
    assert caught.value.place.startswith(str(path))
    assert caught.value.fix


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No such file.*data\.vocabulary\.file"):
        Vocabulary.read(tmp_path / "vocab.txt", lowercase=True)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("\n".join([*PIECES, "é"]).encode("latin-1"))

    with pytest.raises(UserError, match="not UTF-8"):
        Vocabulary.read(tmp_path / "vocab.txt", lowercase=True)


def test_entry_has_the_digest_of_the_written_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("the", "[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]"), lowercase=True)
    vocabulary.write(tmp_path / "vocab.txt")

    entry = vocabulary.entry()

    assert entry.sha256 == hashlib.sha256((tmp_path / "vocab.txt").read_bytes()).hexdigest()
    ids = (entry.mask_id, entry.sep_id, entry.cls_id, entry.pad_id, entry.unk_id)
    assert (entry.size, entry.lowercase, ids) == (6, True, (1, 2, 3, 4, 5))


def test_ordinary_ids_exclude_special_tokens_and_unused_slots() -> None:
    pieces = ("[PAD]", "[unused0]", "a", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused12]", "##b", "[unused]", "[")

    ordinary = Vocabulary(pieces, lowercase=True).ordinary_ids

    assert [pieces[number] for number in ordinary] == ["a", "##b", "[unused]", "["]
    assert ordinary.dtype == np.uint16


def test_tokenizer_encodes_and_decodes_like_berts() -> None:
    tokenizer = Vocabulary(PIECES, lowercase=True).tokenizer()

    encoding = tokenizer.encode("The Càpital", "of [MASK].")

    tokens = ["[CLS]", "the", "cap", "##ital", "[SEP]", "of", "[MASK]", ".", "[SEP]"]
    assert encoding.tokens == tokens
    assert encoding.type_ids == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert tokenizer.decode(encoding.ids) == "the capital of."
    assert tokenizer.get_vocab_size() == len(PIECES)
