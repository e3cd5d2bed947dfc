"""An export in sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from launch.transfer.huggingface import export_run
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.tasks.rows import TokenRow, batch_of
from tests.pretrain.runs import some_model, write_run

pytestmark = pytest.mark.slow


def test_a_sentence_is_the_mean_of_its_tokens(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    run = write_run(tmp_path, some_model())
    export_run(run, tmp_path / "out", sentence_transformers=True)
    encoder = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    source = load_pretrained(run)
    sentences = ["a b c", "A"]
    assert encoder.max_seq_length == source.config.max_position_embeddings
    vectors = encoder.encode(sentences)
    tokenizer = source.vocabulary.tokenizer()
    model = source.model("none").eval()
    for sentence, vector in zip(sentences, vectors, strict=True):
        ids = [
            source.vocabulary.ids["[CLS]"],
            *tokenizer.encode(sentence, add_special_tokens=False).ids,
            source.vocabulary.ids["[SEP]"],
        ]
        with torch.no_grad():
            *_, last = model.bert.hidden_states(batch_of([TokenRow(ids, [0] * len(ids))], []))
        np.testing.assert_allclose(vector, last.mean(0).numpy(), atol=1e-5)
