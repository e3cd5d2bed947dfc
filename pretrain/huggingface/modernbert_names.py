"""The names of ModernBERT's weights: ours, and those of Hugging Face's `ModernBertForMaskedLM`.

No weight is concatenated or split: both have one matrix for queries, keys and values. Only the model that attends from
left to right, `ModernBertDecoderForCausalLM`, has three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # of DataParallel and torch.compile
WORDS = "model.embeddings.tok_embeddings.weight"
# Our name: Hugging Face's name.
WEIGHTS = {
    "bert.embeddings.word.weight": WORDS,
    "bert.embeddings.norm.weight": "model.embeddings.norm.weight",
    "bert.norm.weight": "model.final_norm.weight",
}
LAYER_WEIGHTS = {
    "attention_norm.weight": "attn_norm.weight",
    "attention.qkv.weight": "attn.Wqkv.weight",
    "attention.output.weight": "attn.Wo.weight",
    "feed_norm.weight": "mlp_norm.weight",
    "feed_in.weight": "mlp.Wi.weight",
    "feed_out.weight": "mlp.Wo.weight",
}
DECODER_QKV = ("attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight")
# The same two layers before the decoder of masked words, and before the classifier of a task.
HEAD = {"dense.weight": "head.dense.weight", "norm.weight": "head.norm.weight"}
DECODER_BIAS = {"masked_lm.decoder.bias": "decoder.bias"}
TIED = {"decoder.weight": WORDS}
CLASSIFIER = "classifier.weight"
DECODER_HEAD = "lm_head"  # the name of HEAD's layers in a decoder that predicts words; a task's has the usual name


def is_modern(state: Mapping[str, Tensor]) -> bool:
    """Return whether Hugging Face's or our state dict is ModernBERT's."""
    theirs = any(name.endswith("embeddings.tok_embeddings.weight") for name in state)
    ours = "bert.embeddings.word.weight" in state and "bert.embeddings.position.weight" not in state
    return theirs or ours


def is_decoder(state: Mapping[str, Tensor]) -> bool:
    """Return whether a Hugging Face state dict is that of a model that attends from left to right."""
    return any(name.endswith(DECODER_QKV[0]) for name in state)


def has_classifier(state: Mapping[str, Tensor]) -> bool:
    """Return whether the head in a Hugging Face state dict is that of a task."""
    return CLASSIFIER in state or (is_decoder(state) and "head.dense.weight" in state)


def names_of(
    layers: int, *, has_classifier: bool, decoder_bias: bool, is_decoder: bool = False
) -> dict[str, list[str]]:
    """Return our name of each weight, without the tied decoder's, and Hugging Face's names of its parts, in order."""
    names = dict(WEIGHTS)
    for layer in range(layers):
        for ours, theirs in LAYER_WEIGHTS.items():
            if layer or ours != "attention_norm.weight":
                names[f"bert.encoder.{layer}.{ours}"] = f"model.layers.{layer}.{theirs}"
    part = "bert.pooler" if has_classifier else "masked_lm"
    names |= {f"{part}.{ours}": theirs for ours, theirs in HEAD.items()}
    if is_decoder and not has_classifier:
        names |= {f"{part}.{ours}": theirs.replace("head", DECODER_HEAD, 1) for ours, theirs in HEAD.items()}
    if decoder_bias and not has_classifier:
        names |= DECODER_BIAS
    parts = {ours: [theirs] for ours, theirs in names.items()}
    for layer in range(layers if is_decoder else 0):
        parts[f"bert.encoder.{layer}.attention.qkv.weight"] = [f"model.layers.{layer}.{name}" for name in DECODER_QKV]
    return parts


def current_name(name: str) -> str:
    """Return the name in `ModernBertForMaskedLM` of a weight of a bare encoder, or of a wrapped model."""
    name = WRAPPERS.sub("", name)
    return f"model.{name}" if name.startswith(("embeddings.", "layers.", "final_norm.")) else name
