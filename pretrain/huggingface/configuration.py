"""The content of Hugging Face's config.json, and our recipe's model section.

Fields that a configuration leaves out have the defaults of transformers' `BertConfig` and `MegatronBertConfig`: the
`bert_config.json` files that Google published, and most models of a domain, state no `layer_norm_eps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import ModelConfig
from pretrain.huggingface.modernbert_config import VOCABULARY_SIZE, from_modernbert_config, to_modernbert_config

MODERN, MODERN_DECODER = "modernbert", "modernbert-decoder"
MODEL_TYPES: dict[str, Literal["post", "pre"]] = {"bert": "post", "megatron-bert": "pre"}

# Configuration fields with the same name in both, and transformers' default of each, by model type.
_BERT: dict[str, int | float | str] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "type_vocab_size": 2,
    "vocab_size": 30_522,
}
_MEGATRON = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
DEFAULTS: dict[str, dict[str, int | float | str]] = {
    "bert": _BERT,
    "megatron-bert": _BERT | _MEGATRON | {"vocab_size": 29_056},
}
SHARED_FIELDS = [name for name in _BERT if name != "vocab_size"]
# Fixed properties of our model; a configuration with other values describes another model.
FIXED_FIELDS = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
# Other values that are read: the weights show whether the decoder is tied; a decoder attends from left to right.
_READ: dict[str, tuple[Any, ...]] = {"tie_word_embeddings": (False,), "is_decoder": (True,)}
# transformers' other names of the same functions.
ACTIVATIONS = {
    "gelu_python": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "swish": "silu",
}


def from_hugging_face_config(fields: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    """Return our recipe's model section and the vocabulary size; raises `UserError` for another architecture."""
    model_type = str(fields.get("model_type", "bert"))
    if model_type in (MODERN, MODERN_DECODER):
        read = {**from_modernbert_config(fields), "vocab_size": fields.get("vocab_size", VOCABULARY_SIZE)}
        read["attention"] = _attention(is_left_to_right=model_type == MODERN_DECODER)
    elif model_type in MODEL_TYPES:
        read = _read_bert(fields, model_type)
    else:
        known = ", ".join((*MODEL_TYPES, MODERN, MODERN_DECODER))
        cause = f"the configuration has model_type = {model_type!r}, not one of {known}"
        raise UserError(cause, fix="give a model of the published architecture")
    size = read.pop("vocab_size")
    if type(size) is not int or not 0 < size < 2**32:
        cause = f"the configuration has vocab_size = {str(size)[:80]}"
        raise UserError(cause, fix="download config.json again")
    try:
        return ModelConfig.model_validate(read), size
    except ValidationError as error:
        raise _unusable(error, read) from None


def _read_bert(fields: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    for name, value in FIXED_FIELDS.items():
        stated = fields.get(name, value)
        if stated != value and stated not in _READ.get(name, ()):
            cause = f"the configuration has {name} = {stated!r}; only {value!r} is supported"
            raise UserError(cause, fix="give a model of the published architecture")
    read = {name: fields.get(name, default) for name, default in DEFAULTS[model_type].items()}
    activation = ACTIVATIONS.get(str(read["hidden_act"]), read["hidden_act"])
    attention = _attention(is_left_to_right=bool(fields.get("is_decoder", False)))
    return {**read, "hidden_act": activation, "norm": MODEL_TYPES[model_type], "attention": attention}


def to_hugging_face_config(config: ModelConfig, vocabulary_size: int, pad_id: int = 0) -> dict[str, Any]:
    """Return the content of Hugging Face's config.json."""
    architectures = [f"{family_of(config)}{'ForPreTraining' if not config.is_modern else 'ForMaskedLM'}"]
    if config.is_left_to_right:
        architectures = [causal_architecture(config)]
    if config.is_modern:
        model_type = MODERN_DECODER if config.is_left_to_right else MODERN
        about = {"architectures": architectures, "model_type": model_type, "vocab_size": vocabulary_size}
        return {**about, "pad_token_id": pad_id, **to_modernbert_config(config)}
    return {
        "architectures": architectures,
        "model_type": next(name for name, norm in MODEL_TYPES.items() if norm == config.norm),
        "vocab_size": vocabulary_size,
        "pad_token_id": pad_id,
        **FIXED_FIELDS,
        "is_decoder": config.is_left_to_right,
        **{name: getattr(config, name) for name in SHARED_FIELDS},
    }


def family_of(config: ModelConfig) -> str:
    """Return the beginning of the names of transformers' classes for a model."""
    if config.is_modern:
        return "ModernBertDecoder" if config.is_left_to_right else "ModernBert"
    return "MegatronBert" if config.is_pre_norm else "Bert"


def causal_architecture(config: ModelConfig) -> str:
    """Return the name of transformers' class that predicts the next token."""
    return "BertLMHeadModel" if family_of(config) == "Bert" else f"{family_of(config)}ForCausalLM"


def _attention(*, is_left_to_right: bool) -> str:
    return "left_to_right" if is_left_to_right else "bidirectional"


def _unusable(error: ValidationError, read: Mapping[str, Any]) -> UserError:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    field = str(first["loc"][0]) if first["loc"] else ""
    what = (
        f"the configuration has {field} = {str(read[field])[:80]}: {message}"
        if field
        else f"the configuration: {message}"
    )
    return UserError(what, fix="give a model of the published architecture, or download config.json again")
