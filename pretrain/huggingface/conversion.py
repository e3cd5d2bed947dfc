"""Exact conversion of weights to and from Hugging Face's `BertForPreTraining`.

A pre-LayerNorm model becomes a `MegatronBertForPreTraining`, and ModernBERT a `ModernBertForMaskedLM`; models that
attend from left to right become those classes with the same names of weights that predict the next token, and a
`ModernBertDecoderForCausalLM`. Weights are renamed, and queries, keys and values are concatenated or split; there is no
arithmetic, so a round trip is the identity.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from configs.errors import UserError
from pretrain.huggingface import modernbert_names as modern

# Our name: Hugging Face's name.
WEIGHTS = {
    "bert.embeddings.word.weight": "bert.embeddings.word_embeddings.weight",
    "bert.embeddings.position.weight": "bert.embeddings.position_embeddings.weight",
    "bert.embeddings.token_type.weight": "bert.embeddings.token_type_embeddings.weight",
    "masked_lm.decoder.bias": "cls.predictions.bias",
}
MODULES = {
    "bert.pooler": "bert.pooler.dense",
    "masked_lm.dense": "cls.predictions.transform.dense",
    "masked_lm.norm": "cls.predictions.transform.LayerNorm",
    "next_sentence": "cls.seq_relationship",
}
LAYER_MODULES = {
    "attention.output": "attention.output.dense",
    "feed_in": "intermediate.dense",
    "feed_out": "output.dense",
}
# By ModelConfig.norm: outside the layers, and in each layer.
NORM_MODULES = {
    "post": {"bert.embeddings.norm": "bert.embeddings.LayerNorm"},
    "pre": {"bert.norm": "bert.encoder.ln"},
}
LAYER_NORM_MODULES = {
    "post": {"attention_norm": "attention.output.LayerNorm", "feed_norm": "output.LayerNorm"},
    "pre": {"attention_norm": "attention.ln", "feed_norm": "ln"},
}
LAYER = re.compile(r"(?:bert\.encoder\.layer|model\.layers)\.(\d+)\.")
# What stands before the names of an encoder: DataParallel, torch.compile, and classes that have it as an attribute.
WORDS = "embeddings.word_embeddings.weight"
WRAPPERS = re.compile(r"(?:(?:module|_orig_mod|model|encoder|transformer|auto_model|bert|\d+)\.)*")
PARTS = ("embeddings.", "encoder.", "pooler.")
QKV = ("query", "key", "value")
OPTIONAL_PARTS = ("bert.pooler", "masked_lm", "next_sentence")  # parts that a source model can lack

# Hugging Face's second names of tied weights. Where a file contains others under them, its decoder is not tied.
TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}

logger = logging.getLogger(__name__)


def from_hugging_face(state: Mapping[str, Tensor], *, decoder_bias: bool = True) -> dict[str, Tensor]:
    """Return our state dict, without the tied decoder's weight, of any Hugging Face model with one of our encoders.

    Names can lack the `bert.` prefix, begin with a wrapper's `module.`, or use the old `gamma` and `beta`. Pooler,
    masked-LM head and next-sentence head are included where they are complete; other heads are ignored. A masked-LM
    head whose decoder is not tied is left out, with a warning: ours shares the embeddings' weight. The layers before a
    ModernBERT classifier are its pooler. Raises `UserError` when the encoder is incomplete.
    """
    state = current_names(state)
    state.setdefault("cls.predictions.bias", state.get("cls.predictions.decoder.bias", torch.empty(0)))
    names = _names_of(state, decoder_bias)
    for part in OPTIONAL_PARTS:
        mine = {name: sources for name, sources in names.items() if name.startswith(part)}
        complete = all(source in state and state[source].numel() for sources in mine.values() for source in sources)
        if not complete or (part == "masked_lm" and not _is_tied(state)):
            names = {name: sources for name, sources in names.items() if name not in mine}
    missing = [source for sources in names.values() for source in sources if source not in state]
    if missing or "bert.encoder.0.feed_in.weight" not in names:
        cause = f"`{missing[0]}` is missing" if missing else "there is no layer 0"
        raise UserError(cause, fix="give a model with BERT's encoder")
    return {name: torch.cat([state[source] for source in sources]) for name, sources in names.items()}


def to_hugging_face(state: Mapping[str, Tensor], *, left_to_right: bool = False) -> dict[str, Tensor]:
    """Return our state dict as Hugging Face's, with each tied weight once, as in their files.

    The tensors share memory with ours. `OPTIONAL_PARTS` that are missing in ours are missing in the result.
    """
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("bert.encoder."))
    theirs: dict[str, Tensor] = {}
    if modern.is_modern(state):
        fields = {"has_classifier": "masked_lm.dense.weight" not in state, "is_decoder": left_to_right}
        names = modern.names_of(layers, decoder_bias="masked_lm.decoder.bias" in state, **fields)
    else:
        names = _names(layers, "pre" if "bert.norm.weight" in state else "post")
    for name, sources in names.items():
        if name in state or not name.startswith(OPTIONAL_PARTS):
            theirs.update(zip(sources, state[name].chunk(len(sources)), strict=True))
    return theirs


def layers_of(state: Mapping[str, Tensor]) -> int:
    """Return the number of layers of a Hugging Face state dict under current names."""
    found = (LAYER.match(name) for name in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _names_of(state: Mapping[str, Tensor], decoder_bias: bool) -> dict[str, list[str]]:
    """Return `_names` of the model to which a Hugging Face state dict belongs."""
    layers = layers_of(state)
    if modern.is_modern(state):
        fields = {"has_classifier": modern.has_classifier(state), "is_decoder": modern.is_decoder(state)}
        return modern.names_of(layers, decoder_bias=decoder_bias, **fields)
    return _names(layers, "pre" if "bert.encoder.ln.weight" in state else "post")


def _names(layers: int, norm: Literal["post", "pre"]) -> dict[str, list[str]]:
    """Return our name of each weight, without the tied decoder's, and Hugging Face's names of its parts, in order."""
    modules = {ours: [theirs] for ours, theirs in (MODULES | NORM_MODULES[norm]).items()}
    layer_modules = LAYER_MODULES | LAYER_NORM_MODULES[norm]
    for layer in range(layers):
        inside, outside = f"bert.encoder.{layer}", f"bert.encoder.layer.{layer}"
        modules[f"{inside}.attention.qkv"] = [f"{outside}.attention.self.{part}" for part in QKV]
        modules |= {f"{inside}.{ours}": [f"{outside}.{theirs}"] for ours, theirs in layer_modules.items()}
    names = {ours: [theirs] for ours, theirs in WEIGHTS.items()}
    for kind in ("weight", "bias"):
        names |= {f"{ours}.{kind}": [f"{part}.{kind}" for part in parts] for ours, parts in modules.items()}
    return names


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a bare encoder, or of the first releases, under the current names of the complete model.

    What modules around the encoder put before its names is removed.
    """
    if modern.is_modern(state):
        return {modern.current_name(name): weight for name, weight in state.items()}
    before = [name.removesuffix(WORDS) for name in state if name.endswith(WORDS)]
    prefix = min((found for found in before if WRAPPERS.fullmatch(found)), key=len, default="bert.")
    return {_current_name(name, prefix): weight for name, weight in state.items()}


def _current_name(name: str, prefix: str) -> str:
    """Return the current name of a weight, where the names of the encoder's parts begin with `prefix`."""
    part = name.removeprefix(prefix)
    if name.startswith(prefix) and part.startswith(PARTS):
        name = f"bert.{part}"
    else:
        name = name.removeprefix(prefix.removesuffix("bert."))
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _is_tied(state: Mapping[str, Tensor]) -> bool:
    for name, original in (TIED | modern.TIED).items():
        if name in state and original in state and not torch.equal(state[name], state[original]):
            cause = f"the decoder is not tied to the embeddings: `{name}` differs from `{original}`"
            logger.warning("%s; the masked-LM head is left out", cause)
            return False
    return True
