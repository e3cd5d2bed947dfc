"""Start a larger model from the weights of a smaller one by centred tiling, as ModernBERT-large was started from base.

Each axis of a weight is filled with copies of the smaller one's, of which one lies in the middle (Warner et al. 2024,
section 2.2.2 and appendix A.2; after Phi, Javaheripi et al. 2023). Layer j starts as the smaller model's layer
`round(j · layers / larger layers)` (Rae et al. 2021, "Gopher", section G.3.3).

Queries, keys, values and the two halves of GeGLU are tiled separately, and attention in whole heads, so that no head is
made of parts of two. Where the numbers of heads differ by an even number, as published, this is the plain rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from configs.schema import ModelConfig

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")  # that can grow
LAYER = re.compile(r"bert\.encoder\.(\d+)\.")
WORD_ROWS = ("bert.embeddings.word.weight", "bert.embeddings.position.weight", "bert.embeddings.token_type.weight")


def tiled_index(size: int, larger: int, unit: int = 1) -> Tensor:
    """Return the source of each of the `larger` places of an axis of `size`, in units that stay whole: int64 [larger].

    One copy of the axis lies in the middle, rounded down; on both sides, its copies continue.
    """
    before = (larger // unit - size // unit) // 2 * unit
    return (torch.arange(larger) - before) % size


def source_layer(layer: int, layers: int, larger: int) -> int:
    """Return the layer of a model of `layers` layers from which a layer of a larger model starts."""
    return min(round(layer * layers / larger), layers - 1)


def tiled_weights(weights: Mapping[str, Tensor], small: ModelConfig, large: ModelConfig) -> dict[str, Tensor]:
    """Return the weights of the `large` model, by our names, from those of the `small` one.

    The models differ in `SIZES` at most, of which none is smaller in `large`, and have heads of one width. A layer
    that starts as ModernBERT's first one, which has no norm before its attention, gets one that changes nothing yet.
    """
    tiled = {name: _tiled(name, weight, small, large) for name, weight in weights.items() if not LAYER.match(name)}
    for layer in range(large.num_hidden_layers):
        prefix = f"bert.encoder.{source_layer(layer, small.num_hidden_layers, large.num_hidden_layers)}."
        if large.is_modern and layer:
            tiled[f"bert.encoder.{layer}.attention_norm.weight"] = torch.ones(large.hidden_size)
        for name, weight in weights.items():
            if name.startswith(prefix) and (layer or not large.is_modern or "attention_norm" not in name):
                inside = name.removeprefix(prefix)
                tiled[f"bert.encoder.{layer}.{inside}"] = _tiled(inside, weight, small, large)
    return tiled


def _tiled(name: str, weight: Tensor, small: ModelConfig, large: ModelConfig) -> Tensor:
    """Return one weight, tiled along its axes of the hidden or the intermediate width."""
    hidden = tiled_index(small.hidden_size, large.hidden_size)
    heads = tiled_index(small.hidden_size, large.hidden_size, small.hidden_size // small.num_attention_heads)
    feed = tiled_index(small.intermediate_size, large.intermediate_size)
    if name == "masked_lm.decoder.bias" or name == "next_sentence.bias":
        return weight
    if name in WORD_ROWS or name == "next_sentence.weight":
        return weight[:, hidden]
    if name.startswith("attention.qkv."):
        parts = [part[heads] for part in weight.chunk(3)]
    elif name.startswith("feed_in."):
        parts = [part[feed] for part in weight.chunk(2 if small.is_modern else 1)]
    else:
        parts = [weight[hidden]]
    rows = torch.cat(parts)
    if rows.ndim == 1:
        return rows
    return rows[:, {"attention.output.weight": heads, "feed_out.weight": feed}.get(name, hidden)]
