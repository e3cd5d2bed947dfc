"""BERT's encoder (Devlin et al. 2019), as published: post-LayerNorm, exact GELU.

With `norm = "pre"` each sub-layer's input is normalised instead of the residual sum, as in Megatron's BERT (Shoeybi et
al. 2020, section 5.3, figure 7): deep models that otherwise diverge then train. A LayerNorm after the last layer
replaces the LayerNorm of the embeddings, so both forms have the same number of weights.

    T  tokens of all rows, concatenated                H  hidden_size
    B  rows                                            F  intermediate_size
    R  tokens whose output is read                     D  width of a head, H / A
    A  num_attention_heads

Rows are ragged: nothing is padded. Every operation except matrix products is in `pretrain/kernels`; modules hold the
weights, under the names used in checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from configs.schema import ModelConfig, Objective
from pretrain.kernels import Backend, Dropout, Kernels, RowLayout, choose_kernels
from pretrain.model.batch import Batch

TOKEN_TYPES = 2  # segments A and B
SITES_PER_LAYER = 3  # dropouts: of the attention weights, and after each of two sub-layers; site 0 is the embeddings'


@dataclass(frozen=True)
class ForwardPass:
    """The kernels, row layout and dropout seed that all layers share in one forward pass."""

    kernels: Kernels
    layout: RowLayout
    seed: Tensor | None  # of every dropout; None outside training

    def dropout(self, probability: float, site: int) -> Dropout | None:
        """Return the dropout at one site of the model; None where nothing is dropped."""
        return Dropout(probability, self.seed, site) if self.seed is not None and probability else None

    def gather_read(self, hidden_TH: Tensor, read_R: Tensor | None) -> Tensor:
        """Return the tokens `read_R`, which must be distinct; with None, all tokens."""
        return hidden_TH if read_R is None else self.kernels.gather_rows(hidden_TH, read_R)


class Linear(nn.Linear):
    """A linear layer. With `defers_bias`, its bias is added by the operation that follows it."""

    def __init__(self, inputs: int, outputs: int, *, defers_bias: bool = False) -> None:
        super().__init__(inputs, outputs)
        self.defers_bias = defers_bias

    def forward(self, input: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: A002
        """[T, inputs] → [T, outputs], and the input, which the caller uses in a residual sum."""
        return kernels.linear(input, self.weight, None if self.defers_bias else self.bias)


class Norm(nn.LayerNorm):
    """The weights of a LayerNorm (Ba et al. 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.hidden_size, config.layer_norm_eps)

    @property
    def weights(self) -> tuple[Tensor, Tensor, float]:
        """Weight, bias and epsilon, the arguments of an operation."""
        return self.weight, self.bias, self.eps


class BertEmbeddings(nn.Module):
    """The sum of a token's word, position and token-type vectors (section 3, figure 2), normalised in the post form."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(TOKEN_TYPES, config.hidden_size)
        self.norm = Norm(config) if config.norm == "post" else None
        self.dropout = config.hidden_dropout_prob

    def forward(self, batch: Batch, shared: ForwardPass) -> Tensor:
        """[T] ids → [T, H]."""
        ids = (batch.input_ids, batch.position_ids, batch.token_type_ids)
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
        fed_RH, _ = self.feed_out(kernels.bias_gelu(inner_RF, self.feed_in.bias), kernels)
        return fed_RH, hidden_RH


class BertModel(nn.Module):
    """Embeddings, encoder and, unless the objective is `none`, a pooler: the parts that downstream tasks use."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, vocabulary_size)
        self.encoder = nn.ModuleList(EncoderLayer(config, number) for number in range(config.num_hidden_layers))
        self.norm = Norm(config) if config.norm == "pre" else None
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if objective != "none" else None
        self.checkpoint_activations = False  # recompute each layer in the backward pass, with the same dropout
        self.backend: Backend = "auto"  # of the kernels

    def kernels_for(self, batch: Batch) -> Kernels:
        """Return the kernels for the batch's device."""
        return choose_kernels(batch.input_ids.device.type, self.backend)

    def hidden_states(self, batch: Batch, read_R: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the embeddings' output, then each layer's output, [T, H] each. The last is the encoder's output.

        With `read_R`, distinct indices of the T axis, the last output is [R, H]: for all other tokens the last layer
        computes keys and values only. In training the seed of all dropouts is drawn from the device's torch generator.
        """
        device = batch.input_ids.device
        seed = torch.randint(1 << 62, (), device=device) if self.training else None
        layout = RowLayout(batch.offsets, len(batch.input_ids), batch.max_length)
        shared = ForwardPass(self.kernels_for(batch), layout, seed)
        hidden_TH = self.embeddings(batch, shared)
        *lower, top = self.encoder
        for layer in lower:
            yield hidden_TH
            hidden_TH = self._run_layer(layer, hidden_TH, shared)
        yield hidden_TH
        hidden_RH = self._run_layer(top, hidden_TH, shared, read_R)
        yield hidden_RH if self.norm is None else shared.kernels.layer_norm(hidden_RH, *self.norm.weights)

    def _run_layer(
        self, layer: nn.Module, hidden_TH: Tensor, shared: ForwardPass, read_R: Tensor | None = None
    ) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            # Only flash attention draws from torch's generator; every other mask is a function of the seed.
            run: Callable[..., Tensor] = partial(
                checkpoint, layer, use_reentrant=False, preserve_rng_state=self.training and hidden_TH.is_cuda
            )
        else:
            run = layer
        out_RH: Tensor = run(hidden_TH, shared, read_R)
        return out_RH

    def forward(self, batch: Batch, places_M: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the encoder's output [T, H] and the pooled output of first tokens: [B, H], None without pooler.

        With `places_M`, distinct indices of the T axis that are not a row's first, the encoder's output is [M, H].
        """
        first_B = batch.offsets[:-1].long()
        read_R = places_M if places_M is None or self.pooler is None else torch.cat([first_B, places_M])
        for hidden_RH in self.hidden_states(batch, read_R):
            last_RH = hidden_RH
        if self.pooler is None:
            return last_RH, None
        if places_M is None:
            return last_RH, self.pooler(self.kernels_for(batch).gather_rows(last_RH, first_B)).tanh()
        first_BH, last_MH = torch.split(last_RH, [len(first_B), len(places_M)])
        return last_MH, self.pooler(first_BH).tanh()
