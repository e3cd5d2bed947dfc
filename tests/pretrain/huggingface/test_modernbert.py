"""ModernBERT against transformers' own: hidden states, word scores, gradients, configurations, and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from torch import Tensor

from configs.errors import UserError
from configs.schema import ModelConfig
from pretrain.huggingface.configuration import from_hugging_face_config, to_hugging_face_config
from pretrain.huggingface.conversion import from_hugging_face, to_hugging_face
from pretrain.huggingface.folder import largest_difference, read_hugging_face_folder, write_hugging_face_folder
from pretrain.huggingface.modernbert_names import TIED
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch
from tests.pretrain.huggingface.model_folders import write_tokenizer
from tests.pretrain.huggingface.test_conversion import gradient_of, padded
from tests.pretrain.runs import VOCAB


@st.composite
def configurations(draw: st.DrawFn) -> ModelConfig:
    heads = draw(st.integers(1, 4))
    return ModelConfig(
        architecture="modernbert",
        hidden_size=heads * draw(st.sampled_from([4, 10])),
        num_hidden_layers=draw(st.integers(1, 5)),
        num_attention_heads=heads,
        intermediate_size=draw(st.integers(8, 70)),
        max_position_embeddings=draw(st.integers(90, 100)),
        initializer_range=0.1,
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5])),
        global_attention_every_n_layers=draw(st.integers(1, 4)),
        local_attention=2 * draw(st.integers(1, 40)),
        global_rotary_base=draw(st.sampled_from([100.0, 160_000.0])),
        local_rotary_base=draw(st.sampled_from([10.0, 10_000.0])),
        decoder_bias=draw(st.booleans()),
    )


def theirs_of(config: ModelConfig, vocabulary_size: int) -> Any:
    fields = to_hugging_face_config(config, vocabulary_size)
    theirs = transformers.AutoConfig.for_model(**fields)
    theirs._attn_implementation = "eager"
    model = transformers.AutoModelForMaskedLM.from_config(theirs).eval()  # type: ignore[no-untyped-call]
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


def compare(theirs: Any, batch: Batch, tolerance: float = 1e-5) -> None:
    """Compare hidden states, logits, loss and gradients."""
    ours, inputs = ours_of(theirs), padded(batch)
    del inputs["token_type_ids"], inputs["next_sentence_label"]
    is_token = inputs["attention_mask"].bool()
    expected = theirs(**inputs, output_hidden_states=True)
    states = list(ours.bert.hidden_states(batch))
    assert len(states) == len(expected.hidden_states)
    for state, expected_state in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, expected_state[is_token], rtol=0, atol=tolerance)
    mlm_logits, nsp_logits = ours.logits(batch)
    assert nsp_logits is None
    torch.testing.assert_close(mlm_logits, expected.logits[inputs["labels"] != -100], rtol=0, atol=tolerance)
    mlm_loss, *_ = ours(batch)
    loss = mlm_loss / len(batch.masked_ids)
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.loss.backward()
    found = to_hugging_face({name: gradient_of(parameter) for name, parameter in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(found[name], gradient_of(parameter), rtol=1e-4, atol=1e-5, msg=name)


@settings(max_examples=20, deadline=None)
@given(config=configurations(), size=st.integers(20, 90), rows=st.integers(1, 5), seed=st.integers(0, 1000))
def test_outputs_and_gradients_match_transformers(config: ModelConfig, size: int, rows: int, seed: int) -> None:
    torch.manual_seed(seed)
    batch = random_batch(seed, rows, vocabulary_size=size, max_seq_length=90)
    compare(theirs_of(config, size), batch)


def some_state(**changes: Any) -> dict[str, Tensor]:
    return dict(theirs_of(some_config(**changes), 30).state_dict())


def some_config(**changes: Any) -> ModelConfig:
    fields = {"architecture": "modernbert", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    return ModelConfig.model_validate(fields | {"intermediate_size": 20, "local_attention": 6} | changes)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1024, 8192])
def test_long_rows_match_transformers(length: int) -> None:
    torch.manual_seed(1)
    config = some_config(
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=length,
        local_attention=128,
        layer_norm_eps=1e-5,
    )
    batch = random_batch(1, 3, vocabulary_size=30, max_seq_length=length)
    assert batch.max_length == length
    compare(theirs_of(config, 30), batch)


@pytest.mark.parametrize("decoder_bias", [True, False])
def test_weights_round_trip(decoder_bias: bool) -> None:
    state = some_state(decoder_bias=decoder_bias)
    back = to_hugging_face(from_hugging_face(state, decoder_bias=decoder_bias))
    assert back.keys() == state.keys() - TIED.keys()
    assert all(torch.equal(back[name], state[name]) for name in back)


@pytest.mark.parametrize("every", [1, 3, 4, 9])
def test_configuration_round_trip(every: int) -> None:
    config = some_config(global_attention_every_n_layers=every, global_rotary_base=7e5, decoder_bias=False)
    fields = to_hugging_face_config(config, 1234, pad_id=7)
    assert from_hugging_face_config(fields) == (config, 1234)
    read = transformers.AutoConfig.for_model(**fields)
    assert read.layer_types == fields["layer_types"]
    assert from_hugging_face_config(read.to_dict()) == (config, 1234)


def test_absent_fields_have_the_defaults_of_transformers() -> None:
    theirs = transformers.AutoConfig.for_model("modernbert")
    assert from_hugging_face_config({"model_type": "modernbert"}) == from_hugging_face_config(theirs.to_dict())


def test_the_form_before_transformers_5_is_read() -> None:
    fields = {"model_type": "modernbert", "global_attn_every_n_layers": 4, "global_rope_theta": 80_000}
    config, _ = from_hugging_face_config(fields | {"local_rope_theta": 5e3, "local_attention": 65})
    assert (config.global_attention_every_n_layers, config.local_attention) == (4, 64)
    assert (config.global_rotary_base, config.local_rotary_base) == (80_000.0, 5_000.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_activation": "relu"}, "hidden_activation = 'relu'"),
        ({"norm_bias": True}, "norm_bias = True"),
        ({"layer_types": ["sliding_attention"] * 4}, "layer_types"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "scales the rotary positions"),
        ({"local_attention": 1}, "local_attention = 0"),
        ({"num_attention_heads": 16}, "even width"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_hugging_face_config(to_hugging_face_config(some_config(), 30) | change)


def model_of(config: ModelConfig) -> BertForPreTraining:
    torch.manual_seed(2)
    model = BertForPreTraining(config, len(VOCAB), "none").eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model


@pytest.mark.parametrize("changes", [{}, {"decoder_bias": False, "global_attention_every_n_layers": 1}])
def test_folder_round_trip(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = some_config(**changes, hidden_dropout_prob=0.0)
    model = model_of(config)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    write_hugging_face_folder(tmp_path, config, VOCAB, weights)
    read_config, vocabulary, read = read_hugging_face_folder(tmp_path)
    assert (read_config, vocabulary) == (config, VOCAB)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in read)
    assert largest_difference(tmp_path, model, random_batch(1, 5, vocabulary_size=len(VOCAB))) < 1e-5
    assert len(transformers.pipeline("fill-mask", model=str(tmp_path))("a [MASK] film")) == 5


@torch.no_grad()
def test_a_bare_encoder_of_transformers_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = theirs_of(some_config(), len(VOCAB)).model
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    config, _, weights = read_hugging_face_folder(tmp_path)
    assert "masked-LM head" in caplog.text
    ours = BertForPreTraining(config, len(VOCAB), "none").eval()
    assert not ours.load_state_dict(weights, strict=False).unexpected_keys
    batch = random_batch(2, 4, vocabulary_size=len(VOCAB))
    inputs = padded(batch)
    expected = theirs(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    torch.testing.assert_close(ours.bert(batch)[0], expected[inputs["attention_mask"].bool()], rtol=0, atol=1e-5)
