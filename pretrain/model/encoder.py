"""The encoder: BERT's or ModernBERT's embeddings and layers, and what both architectures share.

`bert.py` and `modernbert.py` hold what differs between the architectures.

    T  tokens of all rows, concatenated                H  hidden_size
    B  rows                                            F  intermediate_size
    R  tokens whose output is read                     D  width of a head, H / A
    A  num_attention_heads

Rows are ragged: none is padded. Every operation except matrix products and activations other than GELU is in
`pretrain/kernels`; modules hold the weights, under the names used in checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from configs.schema import ModelConfig, Objective
from pretrain.kernels import Backend, Kernels, RowLayout, choose_kernels
from pretrain.model.batch import Batch
from pretrain.model.bert import BertEmbeddings, EncoderLayer
from pretrain.model.forward_pass import ForwardPass, Norm
from pretrain.model.modernbert import ModernBertEmbeddings, ModernBertLayer, ModernBertPooler, rotations_of


class BertModel(nn.Module):
    """Embeddings, encoder and, unless the objective is `none`, a pooler: the parts that downstream tasks use."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective) -> None:
        super().__init__()
        embeddings = ModernBertEmbeddings if config.is_modern else BertEmbeddings
        layer = ModernBertLayer if config.is_modern else EncoderLayer
        self.config = config
        self.embeddings = embeddings(config, vocabulary_size)
        self.encoder = nn.ModuleList(layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = Norm(config) if config.is_pre_norm else None
        self.pooler = None if objective == "none" else _pooler(config)
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
        layout = RowLayout(
            batch.offsets, len(batch.input_ids), batch.max_length, is_causal=self.config.is_left_to_right
        )
        shared = ForwardPass(self.kernels_for(batch), layout, seed, rotations_of(self.config, batch.position_ids))
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
        """Return the encoder's output [T, H] and the pooled output of each row: [B, H], None without pooler.

        A row's first token is pooled; from left to right it is the last one, the only one that attends to the whole
        row. With `places_M`, distinct indices of the T axis that are not those of pooled tokens, the encoder's output
        is [M, H].
        """
        ends_B = batch.offsets[: len(batch) + 1].long()  # without those of filler rows
        pooled_B = ends_B[1:] - 1 if self.config.is_left_to_right else ends_B[:-1]
        read_R = places_M if places_M is None or self.pooler is None else torch.cat([pooled_B, places_M])
        for hidden_RH in self.hidden_states(batch, read_R):
            last_RH = hidden_RH
        if self.pooler is None:
            return last_RH, None
        if places_M is None:
            return last_RH, self._pool(self.kernels_for(batch).gather_rows(last_RH, pooled_B), batch)
        pooled_BH, last_MH = torch.split(last_RH, [len(pooled_B), len(places_M)])
        return last_MH, self._pool(pooled_BH, batch)

    def token_vectors(self, hidden_TH: Tensor, batch: Batch) -> Tensor:
        """Return what a task's head reads of each token: BERT's output, or ModernBERT's through its pooler."""
        return self._pool(hidden_TH, batch) if self.config.is_modern else hidden_TH

    def _pool(self, hidden_BH: Tensor, batch: Batch) -> Tensor:
        if isinstance(self.pooler, ModernBertPooler):
            pooled_BH: Tensor = self.pooler(hidden_BH, self.kernels_for(batch))
            return pooled_BH
        assert self.pooler is not None
        return torch.tanh(self.pooler(hidden_BH))


def _pooler(config: ModelConfig) -> nn.Module:
    return ModernBertPooler(config) if config.is_modern else nn.Linear(config.hidden_size, config.hidden_size)
