from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from configs.errors import UserError
from configs.schema import Activation, ModelConfig
from pretrain.huggingface.configuration import DEFAULTS, from_hugging_face_config, to_hugging_face_config
from pretrain.huggingface.conversion import TIED, from_hugging_face, to_hugging_face
from pretrain.kernels.dispatch import choose_kernels
from pretrain.model.activations import activated
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch

IGNORED = -100


@st.composite
def configurations(draw: st.DrawFn) -> tuple[ModelConfig, int]:
    heads = draw(st.integers(1, 4))
    config = ModelConfig(
        norm=draw(st.sampled_from(["post", "pre"])),
        hidden_size=heads * draw(st.sampled_from([8, 12])),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        intermediate_size=draw(st.integers(8, 70)),
        max_position_embeddings=draw(st.integers(24, 40)),
        initializer_range=0.1,
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5])),
        hidden_act=draw(st.sampled_from(["gelu", "gelu_new", "relu"])),
        type_vocab_size=draw(st.sampled_from([2, 3])),
    )
    return config, draw(st.integers(20, 90))


def theirs_of(config: ModelConfig, vocabulary_size: int) -> Any:
    fields = to_hugging_face_config(config, vocabulary_size)
    theirs = transformers.AutoConfig.for_model(**fields)
    model = transformers.AutoModelForPreTraining.from_config(theirs).eval()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at zero, so a mapping that lost one would go unnoticed
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model


def ours_of(theirs: Any) -> BertForPreTraining:
    config, vocabulary_size = from_hugging_face_config(theirs.config.to_dict())
    model = BertForPreTraining(config, vocabulary_size, "nsp").eval()
    weights = from_hugging_face(theirs.state_dict())
    model.load_state_dict(weights | {"masked_lm.decoder.weight": weights["bert.embeddings.word.weight"]})
    return model


def padded(batch: Batch) -> dict[str, Tensor]:
    """Return the batch in transformers' form: [B, L], with a mask, and labels at the masked positions only."""
    lengths = batch.offsets.diff().tolist()
    labels = torch.full_like(batch.input_ids, IGNORED)
    labels[batch.masked_positions] = batch.masked_ids
    columns = {"input_ids": batch.input_ids, "token_type_ids": batch.token_type_ids}
    columns |= {"attention_mask": torch.ones_like(labels)}
    made = {
        name: pad_sequence(list(torch.split(column, lengths)), batch_first=True) for name, column in columns.items()
    }
    made["labels"] = pad_sequence(list(torch.split(labels, lengths)), batch_first=True, padding_value=IGNORED)
    return made | {"next_sentence_label": batch.next_sentence_label}


@settings(max_examples=10, deadline=None)
@given(shape=configurations(), rows=st.integers(1, 5), seed=st.integers(0, 1000))
def test_outputs_and_gradients_match_transformers(shape: tuple[ModelConfig, int], rows: int, seed: int) -> None:
    torch.manual_seed(seed)
    theirs = theirs_of(*shape)
    ours = ours_of(theirs)
    batch = random_batch(seed, rows, vocabulary_size=shape[1])
    inputs = padded(batch)
    is_token = inputs["attention_mask"].bool()
    expected = theirs(**inputs, output_hidden_states=True)

    states = list(ours.bert.hidden_states(batch))
    assert len(states) == len(expected.hidden_states)
    for state, expected_state in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, expected_state[is_token], rtol=0, atol=1e-5)
    mlm_logits, nsp_logits = ours.logits(batch)
    masked = inputs["labels"] != IGNORED
    torch.testing.assert_close(mlm_logits, expected.prediction_logits[masked], rtol=0, atol=1e-5)
    torch.testing.assert_close(nsp_logits, expected.seq_relationship_logits, rtol=0, atol=1e-5)

    mlm_loss, nsp_loss, *_ = ours(batch)
    loss = mlm_loss / len(batch.masked_ids) + nsp_loss / rows
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.loss.backward()
    found = to_hugging_face({name: gradient_of(parameter) for name, parameter in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(found[name], gradient_of(parameter), rtol=1e-4, atol=1e-5, msg=name)


def gradient_of(parameter: torch.nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def some_state() -> dict[str, Tensor]:
    config = ModelConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20)
    return dict(theirs_of(config, 30).state_dict())


def test_weights_round_trip() -> None:
    state = some_state()
    back = to_hugging_face(from_hugging_face(state))
    assert back.keys() == state.keys() - TIED.keys()
    assert all(torch.equal(back[name], state[name]) for name in back)


def test_transformers_loads_converted_weights() -> None:
    torch.manual_seed(1)
    config = ModelConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20)
    ours, batch = BertForPreTraining(config, 30, "nsp").eval(), random_batch(1, 4, vocabulary_size=30)
    theirs = transformers.BertForPreTraining(transformers.BertConfig.from_dict(to_hugging_face_config(config, 30)))
    report = theirs.load_state_dict(to_hugging_face(ours.state_dict()), strict=False)
    assert set(report.missing_keys) == set(TIED)
    theirs.tie_weights()
    theirs.eval()  # type: ignore[no-untyped-call]
    logits = theirs(**padded(batch)).seq_relationship_logits
    torch.testing.assert_close(ours.logits(batch)[1], logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("activation", "token_types"), [("gelu", 2), ("gelu_new", 1), ("silu", 4)])
def test_configuration_round_trip(activation: Activation, token_types: int) -> None:
    config = ModelConfig(
        hidden_size=48,
        num_attention_heads=6,
        layer_norm_eps=1e-7,
        max_position_embeddings=99,
        hidden_act=activation,
        type_vocab_size=token_types,
    )
    fields = to_hugging_face_config(config, 1234, pad_id=7)
    assert from_hugging_face_config(fields) == (config, 1234)
    read = transformers.BertConfig.from_dict(fields)
    assert (read.pad_token_id, read.hidden_act, read.type_vocab_size) == (7, activation, token_types)
    assert from_hugging_face_config(read.to_dict()) == (config, 1234)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "prelu"}, "hidden_act = prelu: Input should be 'gelu', 'gelu_new'"),
        ({"hidden_act": ["gelu"]}, "hidden_act = "),
        ({"type_vocab_size": 0}, "type_vocab_size = 0"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_other_architecture_raises(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_hugging_face_config(to_hugging_face_config(ModelConfig(), 30) | change)


def test_every_activation_of_transformers_without_weights_is_read() -> None:
    fields, values = to_hugging_face_config(ModelConfig(), 30), torch.linspace(-12, 12, 500)[:, None]
    kernels, nothing = choose_kernels("cpu"), torch.zeros(1)
    for name in transformers.activations.ACT2CLS:
        if name in ("prelu", "xielu"):  # with weights of their own
            continue
        config, _ = from_hugging_face_config(fields | {"hidden_act": name})
        actual = activated(values, nothing, config.hidden_act, kernels)
        torch.testing.assert_close(actual, transformers.activations.ACT2FN[name](values), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model_type", DEFAULTS)
def test_absent_fields_have_the_defaults_of_transformers(model_type: str) -> None:
    theirs = transformers.AutoConfig.for_model(model_type)
    assert DEFAULTS[model_type] == {name: getattr(theirs, name) for name in DEFAULTS[model_type]}
    config, size = from_hugging_face_config({"model_type": model_type})
    assert (config.hidden_size, config.layer_norm_eps, size) == (theirs.hidden_size, 1e-12, theirs.vocab_size)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 30}, "hidden_size 30 is not a multiple of num_attention_heads 12"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0: Input should be greater"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps = tiny: Input should be a valid number"),
        ({"vocab_size": None}, "vocab_size = None"),
    ],
)
def test_values_that_no_model_has_are_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_hugging_face_config(to_hugging_face_config(ModelConfig(), 30) | change)


def test_the_head_of_an_untied_decoder_is_left_out() -> None:
    state = some_state()
    assert "masked_lm.dense.weight" in from_hugging_face(state)
    weights = from_hugging_face(state | {"cls.predictions.decoder.weight": torch.zeros(30, 16)})
    assert not [name for name in weights if name.startswith("masked_lm")]
    assert "next_sentence.weight" in weights
