from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import ModelConfig
from pretrain.huggingface.pretrained import Pretrained
from pretrain.transfer.senses import SHIPPED, Context, read_contexts, separation, word_vectors
from pretrain.transfer.tasks.rows import TokenRow, batch_of
from tests.pretrain.runs import MODEL, VOCAB, some_model

SOURCE = Pretrained(Path("here"), ModelConfig(**MODEL), VOCAB, dict(some_model().named_parameters()))


def context(sentence: str, word: str) -> Context:
    start = sentence.index(word)
    return Context("any", sentence, start, start + len(word))


@torch.no_grad()
def states_of(sentence: str) -> torch.Tensor:
    encoding = VOCAB.tokenizer().encode(sentence)
    return torch.stack(list(some_model().bert.hidden_states(batch_of([TokenRow.of(encoding)]))))


def test_word_vector_is_the_mean_of_its_pieces_in_every_layer() -> None:
    one, other = "Bad RiverBank , bad film", "the bank"
    found = word_vectors(SOURCE, [context(one, "RiverBank"), context(other, "bank")])
    assert VOCAB.tokenizer().encode(one).tokens[2:7] == ["river", "##b", "##a", "##n", "##k"]
    np.testing.assert_allclose(found[:, 0], states_of(one)[:, 2:7].mean(1), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], states_of(other)[:, 2], atol=1e-6)


def test_word_beyond_the_models_positions_raises() -> None:
    sentence = "the " * 60 + "bank"
    with pytest.raises(UserError, match="beyond the model's positions"):
        word_vectors(SOURCE, [context(sentence, "bank")])
    cut = "the " * 44 + "riverbank"  # only its first two pieces are within
    with pytest.raises(UserError, match="beyond the model's positions"):
        word_vectors(SOURCE, [context(cut, "riverbank")])


def test_separation_depends_on_directions_only() -> None:
    vectors = np.array([[1.0, 0.0], [5.0, 0.1], [0.0, 2.0], [0.1, 9.0]], np.float32)
    apart = separation(vectors, ["a", "a", "b", "b"])
    assert apart.accuracy == 1.0
    assert apart.silhouette > 0.9
    crossed = separation(vectors, ["a", "b", "b", "a"])
    assert crossed.accuracy == 0.0
    assert crossed.silhouette < 0.0


def test_equal_vectors_have_no_separation() -> None:
    same = separation(np.ones((4, 3), np.float32), ["b", "a", "b", "a"])
    assert (same.silhouette, same.accuracy) == (0.0, 0.5)


def test_shipped_contexts_are_balanced_in_count_and_word_position() -> None:
    contexts = read_contexts(SHIPPED["bank"], "bank")
    senses = [context.sense for context in contexts]
    assert [senses.count(sense) for sense in ("river", "money", "row")] == [8, 8, 8]
    places = [len(context.sentence[: context.start].split()) for context in contexts]
    means = [np.mean([place for place, one in zip(places, senses, strict=True) if one == s]) for s in set(senses)]
    assert max(means) - min(means) < 1.0  # the word's position does not predict the sense


def test_word_matches_complete_words_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "contexts.tsv"
    path.write_text("a\tBanks on the Bank.\na\tbank\n\nb\tthe bank\nb\tno embankment, a bank\n")
    found = read_contexts(path, "bank")
    assert [one.sentence[one.start : one.end] for one in found] == ["Bank", "bank", "bank", "bank"]
    assert found[-1].start == len("no embankment, a ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tbank\na\tbanks\n", r"line 2: no sense, tab and sentence with the word 'bank'"),
        ("the bank\n", r"line 1: no sense, tab and sentence with the word 'bank'"),
        ("a\tbank\na\tbank\n", "too few contexts to compare: a 2"),
        ("a\tbank\na\tbank\nb\tbank\n", "too few contexts to compare: a 2, b 1"),
        ("", "too few contexts to compare: none"),
    ],
)
def test_invalid_or_too_few_contexts_raise(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "contexts.tsv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_contexts(tmp_path / "contexts.tsv", "bank")


def test_missing_contexts_file_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the contexts"):
        read_contexts(tmp_path / "none.tsv", "bank")
