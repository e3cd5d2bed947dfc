"""A tokenizer.json of any kind is made ready for rows: special tokens by name, the template of a row, nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary.tokenizer_json import CLS, MASK, PAD, SEP, UNK, TokenizerJson
from preprocessing.vocabulary.vocabulary import Vocabulary
from preprocessing.vocabulary.vocabulary_files import read_vocabulary
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import KINDS, LINES, tokenizer_of, vocabulary_of

ANY = VocabularyConfig(kind="tokenizer")
ROBERTA = {PAD: "<pad>", UNK: "<unk>", CLS: "<s>", SEP: "</s>", MASK: "<mask>"}
BERT = {token: token for token in ROBERTA}


def parsed(**changes: Any) -> TokenizerJson:
    fields = json.loads(tokenizer_of("roberta").to_str()) | changes
    return TokenizerJson.parse(json.dumps(fields).encode(), "tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_made_ready_stays_as_it_is(kind: str) -> None:
    source = vocabulary_of(kind).source
    assert source
    again = TokenizerJson.parse(source.text.encode(), "tokenizer.json")
    assert (again, again.added) == (source, ())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_encoded_as_in_a_data_set(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    tokenizer, ids = vocabulary.tokenizer(), vocabulary.id_of
    first, second = (tokenizer.encode(line, add_special_tokens=False).ids for line in LINES[:2])
    assert tokenizer.encode(LINES[0]).ids == [ids(CLS), *first, ids(SEP)]
    pair = tokenizer.encode(LINES[0], LINES[1])
    assert pair.ids == [ids(CLS), *first, ids(SEP), *second, ids(SEP)]
    assert pair.type_ids == [0] * (len(first) + 2) + [1] * (len(second) + 1)


def test_special_tokens_are_found_by_name() -> None:
    sources = {kind: vocabulary_of(kind).source for kind in KINDS}
    found = {kind: (source.names, source.added) for kind, source in sources.items() if source}
    assert found["roberta"] == found["xlmr"] == found["clip"] == (ROBERTA, ())
    assert found["llama3"] == found["cased_bert"] == found["letters"] == (BERT, ())
    assert found["gpt2"] == (BERT, (PAD, UNK, CLS, SEP, MASK))
    assert found["t5"] == ({**BERT, PAD: "<pad>", UNK: "<unk>", SEP: "</s>"}, (CLS, MASK))


def test_added_tokens_follow_the_last_id() -> None:
    assert vocabulary_of("t5").pieces[-2:] == (CLS, MASK)
    assert len(vocabulary_of("t5")) == tokenizer_of("t5").get_vocab_size() + 2


def test_special_tokens_are_no_random_replacements() -> None:
    vocabulary = vocabulary_of("modernbert")
    assert set(range(len(vocabulary))) - set(vocabulary.ordinary_ids.tolist()) == {0, 1, 2, 3, 4}


def test_truncation_and_padding_are_removed() -> None:
    tokenizer = Tokenizer.from_str(tokenizer_of("roberta").to_str())
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    ready = TokenizerJson.parse(tokenizer.to_str().encode(), "tokenizer.json")
    assert ready == vocabulary_of("roberta").source


def test_an_id_without_a_token_is_unused() -> None:
    fields = json.loads(tokenizer_of("letters").to_str())
    fields["model"]["vocab"]["B"] = 27
    vocabulary = Vocabulary.of_tokenizer(TokenizerJson.parse(json.dumps(fields).encode(), "tokenizer.json"))
    assert vocabulary.pieces[25:] == ("[unused25]", "[unused26]", "B")
    assert 25 not in vocabulary.ordinary_ids
    assert 27 in vocabulary.ordinary_ids


def test_vocabularies_without_most_tokens_are_refused() -> None:
    fields = json.loads(tokenizer_of("letters").to_str())
    fields["model"]["vocab"]["B"] = 1 << 20
    with pytest.raises(UserError, match="the vocabulary has 1,048,551 ids without a token"):
        TokenizerJson.parse(json.dumps(fields).encode(), "tokenizer.json")


def test_what_tokenizers_cannot_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"not a tokenizer: .*tokenizer\.json.*Hugging Face `tokenizers` reads"):
        parsed(model={"type": "Nonsense"})
    with pytest.raises(UserError, match="not JSON"):
        TokenizerJson.parse(b"{", "tokenizer.json")
    with pytest.raises(UserError, match="not a JSON object"):
        TokenizerJson.parse(b"[]", "tokenizer.json")


def test_a_list_of_words_has_the_blanks_of_a_text() -> None:
    vocabulary = vocabulary_of("llama3")
    of_words = vocabulary.tokenizer(of_words=True).encode(["the", "age", "of"], is_pretokenized=True)
    assert of_words.ids == vocabulary.tokenizer().encode(" the age of").ids
    assert of_words.word_ids[1] == 0


def test_missing_tokens_are_added_for_segments_and_refused_for_pairs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_of("t5").to_str())
    with caplog.at_level(logging.WARNING):
        assert read_vocabulary(path, ANY) == vocabulary_of("t5")
    assert "added to the vocabulary, which lacks them: [CLS], [MASK]" in caplog.text
    with pytest.raises(UserError, match=r"the tokenizer lacks \[CLS\], \[MASK\], which the objective `sop` needs"):
        read_vocabulary(path, ANY, "sop")
    path.write_text(tokenizer_of("roberta").to_str())
    assert read_vocabulary(path, ANY, "nsp") == vocabulary_of("roberta")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the vocabulary"):
        read_vocabulary(tmp_path / "tokenizer.json", ANY)


def test_a_tokenizer_that_is_not_berts_is_refused_and_read_as_any(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_of("llama3").to_str())
    with pytest.raises(UserError, match=r'model has type "BPE".*set data\.vocabulary\.kind="tokenizer"'):
        read_vocabulary(path, VocabularyConfig())
    assert read_vocabulary(path, ANY) == vocabulary_of("llama3")
