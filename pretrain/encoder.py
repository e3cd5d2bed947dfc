"""BERT's encoder (Devlin et al. 2019), as published: post-LayerNorm, exact GELU.

With `norm = "pre"` each sub-layer's input is normalised instead of the residual sum, as in Megatron's BERT (Shoeybi et
al. 2020, section 5.3, figure 7): deep models then train that otherwise diverge. The LayerNorm of the embeddings makes
way for one after the last layer, so that both forms have the same number of weights.

    T  tokens of all rows, one row behind another      H  hidden_size
    B  rows                                            F  intermediate_size
    A  num_attention_heads                             D  width of a head, H / A

Rows are ragged: nothing is padded. What is not a matrix product is an operation of `pretrain/kernels`; modules hold its
weights, under the names that checkpoints know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from configs.schema import ModelConfig, Objective
from pretrain.batch import Batch
from pretrain.kernels.attention import Layout
from pretrain.kernels.dispatch import Backend, Kernels, choose_kernels
from pretrain.kernels.dropout import Dropout

TOKEN_TYPES = 2  # segments A and B
SITES_PER_LAYER = 3  # dropouts: of attention weights, and after each sub-layer; site 0 is that of the embeddings


@dataclass(frozen=True)
class Pass:
    """What the layers share in one forward pass."""

    kernels: Kernels
    layout: Layout
    seed: Tensor | None  # of every dropout; None outside training

    def dropout(self, probability: float, site: int) -> Dropout | None:
        """The dropout at one site of the model; None where nothing is dropped."""
        return Dropout(probability, self.seed, site) if self.seed is not None and probability else None


class Product(nn.Linear):
    """A linear layer whose bias is left to the operation that follows it."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the base class's name
        """[..., inputs] → [..., outputs]."""
        return F.linear(input, self.weight)


class Norm(nn.LayerNorm):
    """The weights of a LayerNorm (Ba et al. 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.hidden_size, config.layer_norm_eps)

    @property
    def weights(self) -> tuple[Tensor, Tensor, float]:
        """What an operation takes of it."""
        return self.weight, self.bias, self.eps


class BertEmbeddings(nn.Module):
    """The sum of a token's word, position and segment vectors (section 3, figure 2), normalised in the post form."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(TOKEN_TYPES, config.hidden_size)
        self.norm = Norm(config) if config.norm == "post" else None
        self.dropout = config.hidden_dropout_prob

    def forward(self, batch: Batch, shared: Pass) -> Tensor:
        """[T] ids → [T, H]."""
        ids = (batch.input_ids, batch.position_ids, batch.token_type_ids)
        tables = (self.word.weight, self.position.weight, self.token_type.weight)
        dropout = shared.dropout(self.dropout, 0)
        if self.norm is None:
            return shared.kernels.embed_sum(*ids, *tables, dropout)
        return shared.kernels.embed(*ids, *tables, *self.norm.weights, dropout)


class SelfAttention(nn.Module):
    """Multi-head self-attention, the output's bias not yet added; queries, keys and values come of one product."""

    def __init__(self, config: ModelConfig, site: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.weights_dropout, self.site = config.attention_probs_dropout_prob, site
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Product(config.hidden_size, config.hidden_size)

    def forward(self, hidden_TH: Tensor, shared: Pass) -> Tensor:
        """[T, H] → [T, H]."""
        qkv_T3AD = self.qkv(hidden_TH).unflatten(-1, (3, self.heads, -1))
        dropout = shared.dropout(self.weights_dropout, self.site)
        mixed_TAD = shared.kernels.attend(qkv_T3AD, shared.layout, dropout)
        attended_TH: Tensor = self.output(mixed_TAD.flatten(1))
        return attended_TH


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer; the residual sum after each is normalised, or the input of each."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.is_pre_norm = config.norm == "pre"
        self.dropout = config.hidden_dropout_prob
        self.first_site = 1 + SITES_PER_LAYER * number
        self.attention = SelfAttention(config, self.first_site)
        self.attention_norm = Norm(config)
        self.feed_in = Product(config.hidden_size, config.intermediate_size)
        self.feed_out = Product(config.intermediate_size, config.hidden_size)
        self.feed_norm = Norm(config)

    def forward(self, hidden_TH: Tensor, shared: Pass) -> Tensor:
        """[T, H] → [T, H]. A bias is read after its product: until then ZeRO 3 may let go of it."""
        kernels, norm, feed_norm = shared.kernels, self.attention_norm, self.feed_norm
        after_attention = shared.dropout(self.dropout, self.first_site + 1)
        after_feed = shared.dropout(self.dropout, self.first_site + 2)
        if self.is_pre_norm:
            attended_TH = self.attention(kernels.layer_norm(hidden_TH, *norm.weights), shared)
            hidden_TH = kernels.add(attended_TH, self.attention.output.bias, hidden_TH, after_attention)
            fed_TH = self._feed(kernels.layer_norm(hidden_TH, *feed_norm.weights), kernels)
            return kernels.add(fed_TH, self.feed_out.bias, hidden_TH, after_feed)
        attended_TH, bias_H = self.attention(hidden_TH, shared), self.attention.output.bias
        hidden_TH = kernels.add_norm(attended_TH, bias_H, hidden_TH, *norm.weights, after_attention)
        fed_TH = self._feed(hidden_TH, kernels)
        return kernels.add_norm(fed_TH, self.feed_out.bias, hidden_TH, *feed_norm.weights, after_feed)

    def _feed(self, hidden_TH: Tensor, kernels: Kernels) -> Tensor:
        fed_TH: Tensor = self.feed_out(kernels.bias_gelu(self.feed_in(hidden_TH), self.feed_in.bias))
        return fed_TH


class BertModel(nn.Module):
    """Embeddings, encoder, and, unless nothing is learned of rows as wholes, a pooler: what a downstream task keeps."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective = "nsp") -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, vocabulary_size)
        self.encoder = nn.ModuleList(EncoderLayer(config, number) for number in range(config.num_hidden_layers))
        self.norm = Norm(config) if config.norm == "pre" else None
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if objective != "none" else None
        self.checkpoint_activations = False  # compute each layer anew in the backward pass, with the same dropout
        self.backend: Backend = "auto"  # which kernels

    def kernels_for(self, batch: Batch) -> Kernels:
        """The kernels for the device where a batch is."""
        return choose_kernels(batch.input_ids.device.type, self.backend)

    def hidden_states(self, batch: Batch) -> Iterator[Tensor]:
        """The embeddings' output, then each layer's, one by one; [T, H] each. The last is the encoder's output.

        In training the seed of all dropouts is drawn from torch's generator of the device.
        """
        device = batch.input_ids.device
        seed = torch.randint(1 << 62, (), device=device) if self.training else None
        layout = Layout(batch.offsets, len(batch.input_ids), batch.max_length)
        shared = Pass(self.kernels_for(batch), layout, seed)
        hidden_TH = self.embeddings(batch, shared)
        for layer in self.encoder:
            yield hidden_TH
            hidden_TH = self._run_layer(layer, hidden_TH, shared)
        yield hidden_TH if self.norm is None else shared.kernels.layer_norm(hidden_TH, *self.norm.weights)

    def _run_layer(self, layer: nn.Module, hidden_TH: Tensor, shared: Pass) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            # Flash attention alone draws from torch's generator; every other mask follows from the seed.
            run: Callable[..., Tensor] = partial(
                checkpoint, layer, use_reentrant=False, preserve_rng_state=self.training and hidden_TH.is_cuda
            )
        else:
            run = layer
        out_TH: Tensor = run(hidden_TH, shared)
        return out_TH

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The encoder's output [T, H], and that of each row's first token, pooled: [B, H], or None without pooler."""
        for hidden_TH in self.hidden_states(batch):
            last_TH = hidden_TH
        if self.pooler is None:
            return last_TH, None
        first_BH = self.kernels_for(batch).gather_rows(last_TH, batch.offsets[:-1].long())
        return last_TH, self.pooler(first_BH).tanh()
