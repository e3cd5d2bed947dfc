"""Models from left to right against transformers' own: hidden states, next-token scores, gradients, and folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st

from configs.schema import ModelConfig
from pretrain.huggingface.configuration import from_hugging_face_config, to_hugging_face_config
from pretrain.huggingface.conversion import from_hugging_face, to_hugging_face
from pretrain.huggingface.folder import largest_difference, read_hugging_face_folder, write_hugging_face_folder
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch
from tests.pretrain.huggingface.test_conversion import gradient_of, padded
from tests.pretrain.runs import VOCAB

CLASSES = {
    "bert": ("BertLMHeadModel", {}),
    "megatron": ("MegatronBertForCausalLM", {"norm": "pre"}),
    "modernbert": ("ModernBertDecoderForCausalLM", {"architecture": "modernbert"}),
}


@st.composite
def configurations(draw: st.DrawFn, kind: str) -> ModelConfig:
    heads = draw(st.integers(1, 4))
    fields = {
        "attention": "left_to_right",
        "hidden_size": heads * draw(st.sampled_from([4, 10])),
        "num_hidden_layers": draw(st.integers(1, 4)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(8, 70)),
        "max_position_embeddings": draw(st.integers(90, 100)),
        "initializer_range": 0.1,
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
    }
    if kind == "modernbert":
        fields["global_attention_every_n_layers"] = draw(st.integers(1, 4))
        fields["local_attention"] = 2 * draw(st.integers(1, 40))
        fields["decoder_bias"] = draw(st.booleans())
    return ModelConfig.model_validate(fields | CLASSES[kind][1])


def theirs_of(config: ModelConfig, vocabulary_size: int) -> Any:
    theirs = transformers.AutoConfig.for_model(**to_hugging_face_config(config, vocabulary_size))
    theirs._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(theirs).eval()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms start at one and the bias at zero, so a lost one would go unnoticed
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model


def ours_of(theirs: Any) -> BertForPreTraining:
    config, vocabulary_size = from_hugging_face_config(theirs.config.to_dict())
    model = BertForPreTraining(config, vocabulary_size, "none").eval()
    weights = from_hugging_face(theirs.state_dict(), decoder_bias=config.decoder_bias)
    model.load_state_dict(weights | {"masked_lm.decoder.weight": weights["bert.embeddings.word.weight"]})
    return model


def compare(theirs: Any, batch: Batch) -> None:
    """Compare hidden states, scores of all tokens that are predicted, loss and gradients."""
    ours, inputs = ours_of(theirs), padded(batch)
    del inputs["next_sentence_label"]
    if ours.bert.config.is_modern:
        del inputs["token_type_ids"]
    predicted = inputs["labels"] != -100
    # transformers takes the label of a token, and compares it with the scores of the token before it.
    inputs["labels"] = torch.cat([torch.full_like(inputs["labels"][:, :1], -100), inputs["labels"][:, :-1]], dim=1)
    is_token = inputs["attention_mask"].bool()
    expected = theirs(**inputs, output_hidden_states=True)
    states = list(ours.bert.hidden_states(batch))
    assert len(states) == len(expected.hidden_states)
    for state, expected_state in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, expected_state[is_token], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.logits(batch)[0], expected.logits[predicted], rtol=0, atol=1e-5)
    loss = ours(batch)[0] / len(batch.masked_ids)
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.loss.backward()
    gradients = {name: gradient_of(parameter) for name, parameter in ours.named_parameters()}
    found = to_hugging_face(gradients, left_to_right=True)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(found[name], gradient_of(parameter), rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), size=st.integers(20, 90), rows=st.integers(1, 5), seed=st.integers(0, 1000))
def test_outputs_and_gradients_match_transformers(
    kind: str, data: st.DataObject, size: int, rows: int, seed: int
) -> None:
    torch.manual_seed(seed)
    theirs = theirs_of(data.draw(configurations(kind)), size)
    assert type(theirs).__name__ == CLASSES[kind][0]
    compare(theirs, random_batch(seed, rows, vocabulary_size=size, max_seq_length=90, predicts_next=True))


def some_config(kind: str) -> ModelConfig:
    fields = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 20}
    return ModelConfig.model_validate(fields | {"attention": "left_to_right"} | CLASSES[kind][1])


@pytest.mark.parametrize("kind", CLASSES)
def test_a_token_does_not_see_those_after_it(kind: str) -> None:
    model = BertForPreTraining(some_config(kind), 50, "none").eval()
    batch = random_batch(1, 1, predicts_next=True)
    before = list(model.bert.hidden_states(batch))[-1]
    batch.input_ids[5:] = 7
    after = list(model.bert.hidden_states(batch))[-1]
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:], after[5:])


@pytest.mark.parametrize("kind", CLASSES)
def test_a_folder_round_trip_keeps_the_attention(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config, batch = some_config(kind), random_batch(1, 3, vocabulary_size=len(VOCAB), predicts_next=True)
    model = BertForPreTraining(config, len(VOCAB), "none")
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    write_hugging_face_folder(tmp_path, config, VOCAB, weights)
    fields = json.loads((tmp_path / "config.json").read_bytes())
    assert fields["architectures"] == [CLASSES[kind][0]]
    assert fields.get("is_decoder", True) is True
    read, _, found = read_hugging_face_folder(tmp_path)
    assert read == config
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    assert largest_difference(tmp_path, model, batch) < 1e-9
