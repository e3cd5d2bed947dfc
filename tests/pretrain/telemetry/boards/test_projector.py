"""Word vectors as TensorBoard's projector plugin reads them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import _read_tensor_tsv_file

from configs.errors import UserError
from pretrain.engine.distributed import World
from pretrain.telemetry.boards import projector
from pretrain.telemetry.boards.projector import CONFIG, WordVectors, word_vectors, write_projector
from tests.distributed import small

WORDS = WordVectors([2, 0], [9, 4], torch.tensor([[0.25, -1e-9, 3.0], [1.0, 2.0, 1 / 3]]))


def test_the_plugin_finds_the_vectors_and_their_pieces(tmp_path: Path) -> None:
    write_projector(tmp_path, WORDS, lambda: ["the", "[UNK]", "a\u2028b"])
    (info,) = text_format.Parse((tmp_path / CONFIG).read_text(), ProjectorConfig()).embeddings
    assert (info.tensor_name, list(info.tensor_shape)) == ("word pieces", [2, 3])
    read = _read_tensor_tsv_file(str(tmp_path / info.tensor_path))
    np.testing.assert_allclose(read, WORDS.vectors, rtol=1e-3)
    head, *pieces = (tmp_path / info.metadata_path).read_text().split("\n")
    assert (head, pieces) == ("piece\toccurrences", ["'a\\u2028b'\t9", "the\t4", ""])


def test_the_most_frequent_pieces_are_shown(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "MOST_PIECES", 3)
    engine = small.engine_of(alone, 0, "fp32")
    counts = [0] * small.VOCABULARY
    counts[5], counts[9], counts[30], counts[36] = 7, 2, 8, 1
    words = word_vectors(engine, counts, "tokens.weight")
    assert (words.ids, words.counts) == ([30, 5, 9], [8, 7, 2])
    assert torch.equal(words.vectors, small.build().tokens.weight.detach()[[30, 5, 9]])
    assert word_vectors(engine, [0] * small.VOCABULARY, "tokens.weight").ids == []


def test_a_failure_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def no_vocabulary() -> list[str]:
        raise UserError("the vocabulary is missing", place="data", fix="")

    with caplog.at_level(logging.ERROR):
        write_projector(tmp_path / "missing", WORDS, lambda: ["the"] * 3)
        write_projector(tmp_path, WORDS, no_vocabulary)
    assert [text.partition(":")[0] for text in caplog.messages] == [
        "the word vectors for TensorBoard's projector were not written"
    ] * 2
    assert list(tmp_path.iterdir()) == []
