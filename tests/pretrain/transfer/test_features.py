from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import ModelConfig
from pretrain.huggingface.pretrained import Pretrained
from pretrain.transfer import features as module
from pretrain.transfer.feature_files import read_texts, write_features
from pretrain.transfer.features import Features, Mix, Pooling, batches_by_length
from pretrain.transfer.tasks.rows import TokenRow, batch_of
from tests.pretrain.runs import MODEL, VOCAB, some_model

SOURCE = Pretrained(Path("here"), ModelConfig(**MODEL), VOCAB, dict(some_model().named_parameters()))
TEXTS = ["good film", "the cat is on a river bank .", "", "bad", "money " * 40]
CPU = torch.device("cpu")


def states_of(text: str, max_length: int = 16) -> torch.Tensor:
    """Return all layers of a single text, [L, T, H]."""
    tokenizer = VOCAB.tokenizer()
    tokenizer.enable_truncation(max_length)
    with torch.no_grad():
        return torch.stack(list(some_model().bert.hidden_states(batch_of([TokenRow.of(tokenizer.encode(text))]))))


def vectors(pooling: Pooling, layers: list[int]) -> module.FeatureBatch:
    (block,) = Features(SOURCE, layers, pooling, 16, CPU).blocks(iter(TEXTS))
    return block


def test_poolings_match_their_definitions() -> None:
    states = [states_of(text) for text in TEXTS]
    expected = {
        Pooling.cls: torch.stack([state[:, 0] for state in states], dim=1),
        Pooling.tokens: torch.cat(states, dim=1),
        Pooling.mean: torch.stack(
            [(state[:, 1:-1] if state.shape[1] > 2 else state).mean(1) for state in states], dim=1
        ),
    }
    for pooling, vectors_LNH in expected.items():
        found = vectors(pooling, [2, 0])
        np.testing.assert_allclose(found.vectors, vectors_LNH[[2, 0]], atol=1e-6)
        assert found.tokens[0] == ["[CLS]", "good", "film", "[SEP]"]
        assert [len(tokens) for tokens in found.tokens] == [state.shape[1] for state in states]


def test_pooler_is_the_pretrained_one() -> None:
    encoder = some_model().bert
    assert encoder.pooler is not None
    with torch.no_grad():
        expected = [encoder.pooler(states_of(text)[-1, 0]).tanh() for text in TEXTS]
    np.testing.assert_allclose(vectors(Pooling.pooler, [2]).vectors[0], torch.stack(expected), atol=1e-6)


def test_blocks_are_consecutive_and_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vectors(Pooling.mean, [1]).vectors
    monkeypatch.setattr(module, "BLOCK_TEXTS", 2)
    done: list[int] = []
    blocks = list(Features(SOURCE, [1], Pooling.mean, 16, CPU).blocks(iter(TEXTS), done.append))
    assert [len(block.tokens) for block in blocks] == [2, 2, 1]
    assert sum(done) == 5
    np.testing.assert_allclose(np.concatenate([block.vectors for block in blocks], axis=1), whole, atol=1e-6)


@given(st.lists(st.integers(1, 50), max_size=40))
def test_batches_by_length_contain_every_row_once_within_the_limit(lengths: list[int]) -> None:
    batches = list(batches_by_length(lengths, max_tokens=60))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[n] for n in batch) <= 60 for batch in batches)


@pytest.mark.parametrize(
    ("layers", "pooling", "length", "words"),
    [
        ([3], Pooling.mean, 16, "the model has 0 to 2"),
        ([], Pooling.mean, 16, "the model has 0 to 2"),
        ([1], Pooling.pooler, 16, "no pooler for layers"),
        ([1], Pooling.mean, 49, "the model has 48 positions"),
    ],
)
def test_invalid_layers_pooling_or_length_raise(layers: list[int], pooling: Pooling, length: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Features(SOURCE, layers, pooling, length, CPU)


def test_mix_is_a_weighted_mean_of_layers(tmp_path: Path) -> None:
    mix = Mix([0, 2], [0.25, 0.75])
    layers = vectors(Pooling.mean, [0, 2]).vectors
    np.testing.assert_allclose(mix.of(layers)[0], 0.25 * layers[0] + 0.75 * layers[1], rtol=1e-5)
    mix.write(tmp_path / "mix.json")
    assert Mix.read(tmp_path / "mix.json") == mix
    for text in ("{", '{"layers": [1], "weights": [0.5]}', '{"layers": [1, 2], "weights": [1]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError):
            Mix.read(tmp_path / "bad.json")


@pytest.mark.parametrize("pooling", [Pooling.mean, Pooling.tokens])
def test_arrow_and_numpy_contain_the_same_vectors(
    tmp_path: Path, pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_TEXTS", 2)
    features = Features(SOURCE, [1, 2], pooling, 16, CPU)
    of_tokens = pooling is Pooling.tokens
    for name in ("a.arrow", "a.npz"):
        count = write_features(tmp_path / name, features.blocks(iter(TEXTS)), ["one", "two"], of_tokens=of_tokens)
        assert count == 5
    table = pa.ipc.open_file(tmp_path / "a.arrow").read_all()
    arrays = np.load(tmp_path / "a.npz")
    assert table["number"].to_pylist() == [0, 1, 2, 3, 4]
    for name in ("one", "two"):
        rows = table[name].to_pylist()
        flat = [vector for row in rows for vector in row] if of_tokens else rows
        np.testing.assert_array_equal(np.array(flat, np.float32), arrays[name])
    if of_tokens:
        assert np.diff(arrays["offsets"]).tolist() == [len(tokens) for tokens in table["tokens"].to_pylist()]


def test_unknown_format_and_empty_input_raise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown file format: \.txt"):
        write_features(tmp_path / "a.txt", iter([]), [], of_tokens=False)
    for name in ("a.arrow", "a.npz"):
        with pytest.raises(UserError, match="no texts"):
            write_features(tmp_path / name, iter([]), [], of_tokens=False)
    assert list(tmp_path.iterdir()) == []


def test_read_texts_from_lines_and_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    assert list(read_texts(tmp_path / "a.txt")) == ["one", "", "two"]
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n\n{"body": null}\n')
    texts = read_texts(tmp_path / "a.jsonl", "body")
    assert next(texts) == "one"
    with pytest.raises(UserError, match=r"a\.jsonl, line 3: no text in column 'body'"):
        next(texts)
    with pytest.raises(UserError, match="cannot read"):
        list(read_texts(tmp_path / "none"))


def test_texts_of_csv_are_those_of_its_column(tmp_path: Path) -> None:
    (tmp_path / "a.CSV").write_text('label,review\n1,"good, long"\n0,bad\n')
    assert list(read_texts(tmp_path / "a.CSV")) == ["good, long", "bad"]
    assert list(read_texts(tmp_path / "a.CSV", "label")) == ["1", "0"]
    (tmp_path / "b.csv").write_text("text\none\ntwo, three\n")
    texts = read_texts(tmp_path / "b.csv")
    assert next(texts) == "one"
    with pytest.raises(UserError, match=r"b\.csv, line 3: 2 fields separated by commas"):
        next(texts)
    with gzip.open(tmp_path / "c.txt.gz", "wt") as stream:
        stream.write("one, two\nthree\n")
    assert list(read_texts(tmp_path / "c.txt.gz")) == ["one, two", "three"]


def test_a_header_with_a_column_of_texts_marks_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input has no name that could say so."""
    header = io.BytesIO(b'id,"text"\n1,"good, long"\n2,bad\n')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(header)))
    assert list(read_texts(Path("-"))) == ["good, long", "bad"]
    (tmp_path / "a.txt").write_text("a text, and more\ntext\n")
    assert list(read_texts(tmp_path / "a.txt")) == ["a text, and more", "text"]


def test_cut_texts_are_counted() -> None:
    features = Features(SOURCE, [2], Pooling.mean, 6, torch.device("cpu"))
    list(features.blocks(iter(["good film", "the cat is good of the river", "the cat is good"])))
    assert features.cut == 1


def test_the_first_token_of_a_model_from_left_to_right_is_refused() -> None:
    config = ModelConfig(**MODEL, attention="left_to_right")
    source = Pretrained(Path("here"), config, VOCAB, SOURCE.weights)
    with pytest.raises(UserError, match="precedes the text, so in a model from left to right its vector is the same"):
        Features(source, [2], Pooling.cls, 16, CPU)
    (block,) = Features(source, [2], Pooling.mean, 16, CPU).blocks(iter(TEXTS))
    assert not np.allclose(block.vectors, vectors(Pooling.mean, [2]).vectors)
