"""Data sets of any tokenizer: made, checked, resumed, with the ids that `tokenizers` gives the text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from configs.errors import UserError
from preprocessing.dataset import TOKENIZER, VOCABULARY, read_manifest, read_shard
from preprocessing.inspection.data_card import write_card
from preprocessing.inspection.decoding import decode_pairs
from preprocessing.inspection.row_rules import original_ids
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.storage import store_at
from preprocessing.vocabulary.tokenizer_json import MASK
from preprocessing.vocabulary.vocabulary import Vocabulary
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import LINES, tokenizer_of

TRAINED = {"kind": "tokenizer", "size": 300}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    documents = [f"{document}\n{line}" for document, line in zip(make_documents(130), LINES * 10, strict=True)]
    return write_text(tmp_path / "text.txt", documents)


def given(folder: Path, kind: str) -> dict[str, str]:
    path = folder / f"{kind}.json"
    path.write_text(tokenizer_of(kind).to_str())
    return {"kind": "tokenizer", "file": str(path)}


@pytest.mark.parametrize(
    ("kind", "objective"),
    [("gpt2", "none"), ("t5", "none"), ("roberta", "nsp"), ("xlmr", "sop"), ("cased_bert", "nsp"), ("clip", "none")],
)
def test_a_data_set_of_any_tokenizer_is_verified(tmp_path: Path, corpus: Path, kind: str, objective: str) -> None:
    folder = tmp_path / "dataset"
    config = small_config(folder, corpus, objective=objective, vocabulary=given(tmp_path, kind), accept_losses=True)
    manifest = prepare(config)
    assert manifest.vocabulary.file == TOKENIZER
    assert (folder / TOKENIZER).exists()
    assert not (folder / VOCABULARY).exists()
    assert list(verify(folder)) == []
    assert prepare(config) == manifest  # nothing is left to do
    assert any(token.piece == MASK for pair in decode_pairs(folder, "train", 0, 20) for token in pair.tokens)
    shown = " ".join(str(pair) for pair in decode_pairs(folder, "train", 0, 20))
    assert not re.search("[\u0120\u00c3]", shown)
    write_card(folder, manifest)
    assert "as tokenizer.json normalises text" in (folder / "DATA_CARD.md").read_text()


def test_rows_are_the_text_of_their_documents(tmp_path: Path, corpus: Path) -> None:
    """A byte-level tokenizer gives the text back, with a blank between two sentences."""
    config = small_config(tmp_path / "dataset", corpus, objective="none", vocabulary=TRAINED, max_seq_length=512)
    manifest = prepare(config)
    tokenizer = Vocabulary.of_data_set(store_at(tmp_path / "dataset"), manifest.vocabulary).tokenizer()
    text = "".join(corpus.read_text().split())
    joined = 0
    for shard in manifest.select("train", 0):
        rows = read_shard(tmp_path / "dataset" / shard.name)
        ids = original_ids(rows)
        for start, end in pairwise(rows.input_offsets.tolist()):
            decoded = tokenizer.decode(ids[start + 1 : end - 1].tolist())
            assert "".join(decoded.split()) in text
            assert not re.search(r"[a-z]\.[A-Z]", decoded)
            joined += len(re.findall(r"[a-z]\. [A-Z]", decoded))
    assert joined > 100


def test_a_trained_tokenizer_gives_the_same_bytes_whatever_the_workers(tmp_path: Path, corpus: Path) -> None:
    made = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        config = small_config(folder, corpus, objective="none", vocabulary=TRAINED, workers=workers)
        prepare(config)
        made.append(digests(folder))
    assert made[0] == made[1]
    trained = {"kind": "tokenizer", "file": str(tmp_path / "1" / TOKENIZER)}
    prepare(small_config(tmp_path / "again", corpus, objective="none", vocabulary=trained))
    shards = {name for name in made[0] if name.endswith(".arrow")}
    assert {name: digests(tmp_path / "again")[name] for name in shards} == {name: made[0][name] for name in shards}


def test_a_damaged_tokenizer_is_found_and_made_again(tmp_path: Path, corpus: Path) -> None:
    config = small_config(tmp_path / "dataset", corpus, objective="none", vocabulary=TRAINED)
    prepare(config)
    before = digests(tmp_path / "dataset")
    (tmp_path / "dataset" / TOKENIZER).write_text("{}")
    (failure,) = verify(tmp_path / "dataset")
    assert failure.file == TOKENIZER
    manifest = read_manifest(tmp_path / "dataset")
    with pytest.raises(UserError, match="the vocabulary is damaged"):
        Vocabulary.of_data_set(store_at(tmp_path / "dataset"), manifest.vocabulary)
    prepare(config)
    assert digests(tmp_path / "dataset") == before


def test_other_tokenizers_make_other_data_sets(tmp_path: Path, corpus: Path) -> None:
    prepare(small_config(tmp_path / "dataset", corpus, objective="none", vocabulary=TRAINED))
    with pytest.raises(UserError, match="holds another data set"):
        prepare(small_config(tmp_path / "dataset", corpus, objective="none", vocabulary={"size": 300}))


def test_pairs_need_the_tokens_of_pairs(tmp_path: Path, corpus: Path) -> None:
    config = small_config(tmp_path / "dataset", corpus, objective="nsp", vocabulary=given(tmp_path, "gpt2"))
    with pytest.raises(UserError, match=r"the tokenizer lacks .* which the objective `nsp` needs"):
        prepare(config)


def test_unknown_text_is_a_loss(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "text.txt", [f"☃☃ ☂☂☂ {number}. ☃ ☂." for number in range(40)])
    config = small_config(tmp_path / "dataset", corpus, objective="none", vocabulary=given(tmp_path, "cased_bert"))
    with pytest.raises(UserError, match=r"of the text's characters become \[UNK\]"):
        prepare(config)
