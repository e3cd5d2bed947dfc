"""BERT's embeddings and layers (Devlin et al. 2019), as published: post-LayerNorm, exact GELU (`hidden_act`).

With `norm = "pre"` each sub-layer's input is normalised instead of the residual sum, as in Megatron's BERT (Shoeybi et
al. 2020, section 5.3, figure 7): deep models that otherwise diverge then train. A LayerNorm after the last layer
replaces the LayerNorm of the embeddings, so both forms have the same number of weights. Shapes are those of
`encoder.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from configs.schema import ModelConfig
from pretrain.kernels import Kernels
from pretrain.model.activations import activated
from pretrain.model.batch import Batch
from pretrain.model.forward_pass import SITES_PER_LAYER, ForwardPass, Linear, Norm


class BertEmbeddings(nn.Module):
    """The sum of a token's word, position and token-type vectors (section 3, figure 2), normalised in the post form."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.has_segments = config.has_segments
        self.norm = Norm(config) if config.norm == "post" else None
        self.dropout = config.hidden_dropout_prob

    def forward(self, batch: Batch, shared: ForwardPass) -> Tensor:
        """[T] ids → [T, H]."""
        token_type_ids = batch.token_type_ids if self.has_segments else torch.zeros_like(batch.token_type_ids)
        ids = (batch.input_ids, batch.position_ids, token_type_ids)
        tables = (self.word.weight, self.position.weight, self.token_type.weight)
        dropout = shared.dropout(self.dropout, 0)
        if self.norm is None:
            return shared.kernels.embed_sum(*ids, *tables, dropout)
        return shared.kernels.embed(*ids, *tables, *self.norm.weights, dropout)


class SelfAttention(nn.Module):
    """Multi-head self-attention without the output's bias; one matrix product computes queries, keys and values."""

    def __init__(self, config: ModelConfig, site: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.weights_dropout, self.site = config.attention_probs_dropout_prob, site
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size, defers_bias=True)

    def forward(self, hidden_TH: Tensor, shared: ForwardPass, read_R: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[T, H] → [T, H], or [R, H] for the tokens `read_R`, which attend to all tokens; and the input [T, H]."""
        qkv_TH3, hidden_TH = self.qkv(hidden_TH, shared.kernels)
        dropout = shared.dropout(self.weights_dropout, self.site)
        qkv_T3AD = qkv_TH3.unflatten(-1, (3, self.heads, -1))
        mixed_TH = shared.kernels.attend(qkv_T3AD, shared.layout, dropout).flatten(1)
        attended_RH, _ = self.output(shared.gather_read(mixed_TH, read_R), shared.kernels)
        return attended_RH, hidden_TH


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer; normalises the residual sum after each, or the input of each."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.is_pre_norm = config.norm == "pre"
        self.activation = config.hidden_act
        self.dropout = config.hidden_dropout_prob
        self.first_site = 1 + SITES_PER_LAYER * number
        self.attention = SelfAttention(config, self.first_site)
        self.attention_norm = Norm(config)
        self.feed_in = Linear(config.hidden_size, config.intermediate_size, defers_bias=True)
        self.feed_out = Linear(config.intermediate_size, config.hidden_size, defers_bias=True)
        self.feed_norm = Norm(config)

    def forward(self, hidden_TH: Tensor, shared: ForwardPass, read_R: Tensor | None = None) -> Tensor:
        """[T, H] → [T, H], or [R, H] for the tokens `read_R`.

        A bias is read after its product, when ZeRO 3 has gathered it.
        """
        kernels, norm, feed_norm = shared.kernels, self.attention_norm, self.feed_norm
        after_attention = shared.dropout(self.dropout, self.first_site + 1)
        after_feed = shared.dropout(self.dropout, self.first_site + 2)
        if self.is_pre_norm:
            residual_RH = shared.gather_read(hidden_TH, read_R)
            attended_RH, _ = self.attention(kernels.layer_norm(hidden_TH, *norm.weights), shared, read_R)
            hidden_RH = kernels.add(attended_RH, self.attention.output.bias, residual_RH, after_attention)
            fed_RH, _ = self._feed(kernels.layer_norm(hidden_RH, *feed_norm.weights), kernels)
            return kernels.add(fed_RH, self.feed_out.bias, hidden_RH, after_feed)
        attended_RH, hidden_TH = self.attention(hidden_TH, shared, read_R)
        bias_H, residual_RH = self.attention.output.bias, shared.gather_read(hidden_TH, read_R)
        hidden_RH = kernels.add_norm(attended_RH, bias_H, residual_RH, *norm.weights, after_attention)
        fed_RH, hidden_RH = self._feed(hidden_RH, kernels)
        return kernels.add_norm(fed_RH, self.feed_out.bias, hidden_RH, *feed_norm.weights, after_feed)

    def _feed(self, hidden_RH: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:
        inner_RF, hidden_RH = self.feed_in(hidden_RH, kernels)
        activated_RF = activated(inner_RF, self.feed_in.bias, self.activation, kernels)
        fed_RH, _ = self.feed_out(activated_RF, kernels)
        return fed_RH, hidden_RH
