"""The fields of Hugging Face's ModernBERT configuration, and our recipe's.

transformers 5 writes `layer_types` and `rope_parameters`, earlier releases `global_attn_every_n_layers`,
`global_rope_theta` and `local_rope_theta`. We read both, and write both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs.errors import UserError
from configs.schema import ModelConfig

# Our field, Hugging Face's, and the default of transformers' `ModernBertConfig`.
FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("hidden_size", "hidden_size", 768),
    ("num_hidden_layers", "num_hidden_layers", 22),
    ("num_attention_heads", "num_attention_heads", 12),
    ("intermediate_size", "intermediate_size", 1152),
    ("max_position_embeddings", "max_position_embeddings", 8192),
    ("initializer_range", "initializer_range", 0.02),
    ("layer_norm_eps", "norm_eps", 1e-5),
    ("hidden_dropout_prob", "mlp_dropout", 0.0),
    ("attention_probs_dropout_prob", "attention_dropout", 0.0),
    ("local_attention", "local_attention", 128),
    ("decoder_bias", "decoder_bias", True),
)
VOCABULARY_SIZE = 50_368
# Fixed properties of our model; a configuration with other values describes another model.
FIXED = {
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "tie_word_embeddings": True,
}
EVERY, KINDS = "global_attn_every_n_layers", ("full_attention", "sliding_attention")
ROTARY = {"full_attention": ("global_rope_theta", 160_000.0), "sliding_attention": ("local_rope_theta", 10_000.0)}
_FIX = "give a model of the published architecture"


def from_modernbert_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of our model section. Raises `UserError` for what our model lacks."""
    for name, value in FIXED.items():
        if fields.get(name, value) != value:
            raise UserError(f"the configuration has {name} = {fields[name]!r}; only {value!r} is supported", fix=_FIX)
    read = {ours: fields.get(theirs, default) for ours, theirs, default in FIELDS}
    if isinstance(read["local_attention"], int):
        read["local_attention"] = read["local_attention"] // 2 * 2  # transformers halves it, rounding down
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        read[name] = float(read[name]) if isinstance(read[name], int) else read[name]
    read["global_attention_every_n_layers"] = _every(fields, read["num_hidden_layers"])
    read["global_rotary_base"], read["local_rotary_base"] = (_base(fields, kind) for kind in KINDS)
    return read | {"architecture": "modernbert"}


def to_modernbert_config(config: ModelConfig) -> dict[str, Any]:
    """Return the fields that both forms of the configuration have in common, and those of each."""
    bases = dict(zip(KINDS, (config.global_rotary_base, config.local_rotary_base), strict=True))
    return {
        **FIXED,
        **{theirs: getattr(config, ours) for ours, theirs, _ in FIELDS},
        "embedding_dropout": config.hidden_dropout_prob,
        "classifier_pooling": "cls",
        EVERY: config.global_attention_every_n_layers,
        "layer_types": [KINDS[not config.is_global(layer)] for layer in range(config.num_hidden_layers)],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        **{ROTARY[kind][0]: base for kind, base in bases.items()},
    }


def _every(fields: Mapping[str, Any], layers: Any) -> Any:
    """Return how often a layer is global, from the list of layers' kinds if there is one."""
    stated, kinds = fields.get(EVERY), fields.get("layer_types")
    if kinds is None or type(layers) is not int:
        return 3 if stated is None else stated
    for every in (stated, *range(1, len(kinds) + 1)):
        if type(every) is int and every > 0 and kinds == [KINDS[bool(n % every)] for n in range(layers)]:
            return every
    cause = "the configuration's layer_types are not global at layer 0 and every n-th layer after it"
    raise UserError(cause, fix=_FIX)


def _base(fields: Mapping[str, Any], kind: str) -> Any:
    """Return the rotary base of a kind of layers. Raises `UserError` if its angles are scaled."""
    old_name, default = ROTARY[kind]
    parameters = (fields.get("rope_parameters") or {}).get(kind) or {}
    scaling = fields.get("rope_scaling") or {}
    if parameters.get("rope_type", "default") != "default" or scaling.get("rope_type", "default") != "default":
        raise UserError(f"the configuration scales the rotary positions of {kind}", fix=_FIX)
    base = parameters.get("rope_theta", fields.get(old_name))
    return default if base is None else float(base) if isinstance(base, int) else base
