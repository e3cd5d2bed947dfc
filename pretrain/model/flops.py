"""Parameters and FLOPs of BERT and ModernBERT, and model FLOPs utilisation (MFU).

FLOPs are those of matrix products, 2 per multiply-add; backward counts as twice forward, as in PaLM's appendix B
(Chowdhery et al. 2022). Only FLOPs that the model needs are counted: true row lengths, only masked positions in the
masked-LM head, no padding, no recomputation. They are the published model's. Our last layer computes less
(`BertModel.hidden_states`): 2.5 % of BERT-large's FLOPs and 4.9 % of BERT-base's at 128 tokens. This is not
subtracted, so that an MFU is comparable with published ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.schema import ModelConfig, Objective

if TYPE_CHECKING:  # a login node plans without torch
    import torch

FORWARD_AND_BACKWARD = 3

# Dense 16-bit matrix peak in FLOP/s from the vendors' data sheets, by a substring of the device's name; the first match
# applies.
PEAK_FLOPS = {
    "GB200": 2.5e15,
    "B200": 2.25e15,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10G": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 5090": 209.5e12,
    "RTX 4090": 165.2e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}


def bert_parameters(config: ModelConfig, vocabulary_size: int, objective: Objective) -> int:
    """Return the number of weights of `BertForPreTraining`.

    Most are the V·H of the word embeddings and 4·H² + 2·H·F in each layer. The pre- and post-LayerNorm forms have the
    same number of LayerNorms; without a sentence objective there is no pooler.
    """
    if config.is_modern:
        return _modernbert_parameters(config, vocabulary_size)
    hidden, feed = config.hidden_size, config.intermediate_size
    norm = 2 * hidden
    embeddings = (vocabulary_size + config.max_position_embeddings + config.type_vocab_size) * hidden + norm
    attention = 4 * hidden * (hidden + 1) + norm
    feed_forward = 2 * hidden * feed + feed + hidden + norm
    masked_lm = hidden * (hidden + 1) + norm + vocabulary_size  # the decoder's weight is the word embeddings'
    next_sentence = (hidden + 2) * (hidden + 1) if objective != "none" else 0  # the pooler and the head
    layers = config.num_hidden_layers * (attention + feed_forward)
    return embeddings + layers + masked_lm + next_sentence


def _modernbert_parameters(config: ModelConfig, vocabulary_size: int) -> int:
    """Return the number of weights of ModernBERT: no biases but the decoder's, and no norm before the first layer."""
    hidden, feed, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    norms = 2 * layers * hidden + 2 * hidden  # of the layers but one, the embeddings, the output and the head
    products = layers * (4 * hidden * hidden + 3 * hidden * feed)
    masked_lm = hidden * hidden + (vocabulary_size if config.decoder_bias else 0)
    return vocabulary_size * hidden + norms + products + masked_lm


def training_flops(
    config: ModelConfig, vocabulary_size: int, objective: Objective, *, lengths: ArrayLike, masked_tokens: int
) -> int:
    """Return the FLOPs of training on rows of these lengths.

    Global attention is quadratic in a row's length; local attention grows with the length times the window.
    """
    lengths_B, hidden, feed = np.asarray(lengths, np.int64), config.hidden_size, config.intermediate_size
    feeds = 3 if config.is_modern else 2  # matrix products of a feed-forward layer; GeGLU has one more
    products = config.num_hidden_layers * int(lengths_B.sum()) * (4 * hidden * hidden + feeds * hidden * feed)
    scores_and_means = 2 * hidden * _attended_pairs(config, lengths_B)
    masked_lm = masked_tokens * hidden * (hidden + vocabulary_size)
    next_sentence = len(lengths_B) * hidden * (hidden + 2) if objective != "none" else 0
    return FORWARD_AND_BACKWARD * 2 * (products + scores_and_means + masked_lm + next_sentence)


def row_flops(
    config: ModelConfig, vocabulary_size: int, objective: Objective, *, length: int, masked_tokens: int
) -> int:
    """Return the FLOPs of training on one row."""
    return training_flops(config, vocabulary_size, objective, lengths=[length], masked_tokens=masked_tokens)


def _attended_pairs(config: ModelConfig, lengths_B: NDArray[np.int64]) -> int:
    """Return the pairs of tokens of which one attends to the other, summed over the rows and layers."""
    layers = config.num_hidden_layers
    global_layers = -(-layers // config.global_attention_every_n_layers) if config.is_modern else layers
    reach_B = np.minimum(config.reach, lengths_B - 1)  # on each side; fewer at the row's ends
    global_pairs, local_pairs = lengths_B**2, lengths_B * (2 * reach_B + 1) - reach_B * (reach_B + 1)
    if config.is_left_to_right:  # each token, and half of the pairs of different ones
        global_pairs, local_pairs = (global_pairs + lengths_B) // 2, (local_pairs + lengths_B) // 2
    return global_layers * int(global_pairs.sum()) + (layers - global_layers) * int(local_pairs.sum())


def peak_flops(device: torch.device) -> float | None:
    """Return the device's 16-bit matrix peak in FLOP/s; None if unknown (a CPU, or a GPU not in `PEAK_FLOPS`)."""
    if device.type != "cuda":
        return None
    import torch

    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def mfu(flops_per_s: float, peak: float | None) -> float | None:
    """Return the model FLOPs utilisation, `flops_per_s` of one device over its peak; None without a peak."""
    return flops_per_s / peak if peak else None
