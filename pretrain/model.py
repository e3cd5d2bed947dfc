"""BERT for pretraining (Devlin et al. 2019), as published: post-LayerNorm, exact GELU, decoder tied to the embeddings.

With `norm = "pre"` each sub-layer's input is normalised instead of the residual sum, as in Megatron's BERT (Shoeybi et
al. 2020, section 5.3, figure 7): deep models then train that otherwise diverge. The LayerNorm of the embeddings makes
way for one after the last layer, so that both forms have the same number of weights.

    T  tokens of all rows, one row behind another      H  hidden_size
    B  rows                                            F  intermediate_size
    M  masked positions of all rows                    V  vocabulary
    A  num_attention_heads                             D  width of a head, H / A

Rows are ragged: nothing is padded, and only the masked positions go through the masked-LM head. The losses are sums,
so that the trainer can divide by the counts of the whole global batch. Logits go to fp32 before a loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from configs.schema import ModelConfig, Objective
from pretrain.attention import Layout, attend
from pretrain.batch import NO_LABEL, Batch
from pretrain.layers import Embedding, LayerNorm

TOKEN_TYPES = 2  # segments A and B


class BertEmbeddings(nn.Module):
    """The sum of a token's word, position and segment vectors (section 3, figure 2), normalised in the post form."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = Embedding(vocabulary_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = Embedding(TOKEN_TYPES, config.hidden_size)
        self.norm = _norm(config) if config.norm == "post" else nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, batch: Batch) -> Tensor:
        """[T] ids → [T, H]."""
        word_TH, position_TH = self.word(batch.input_ids), self.position(batch.position_ids)
        embedded_TH: Tensor = self.dropout(self.norm(word_TH + position_TH + self.token_type(batch.token_type_ids)))
        return embedded_TH


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries, keys and values come of one product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.weights_dropout = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_TH: Tensor, layout: Layout) -> Tensor:
        """[T, H] → [T, H]."""
        qkv_T3AD = self.qkv(hidden_TH).unflatten(-1, (3, self.heads, -1))
        mixed_TAD = attend(qkv_T3AD, layout, self.weights_dropout if self.training else 0.0)
        attended_TH: Tensor = self.output(mixed_TAD.flatten(1))
        return attended_TH


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer; the residual sum after each is normalised, or the input of each."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_pre_norm = config.norm == "pre"
        self.attention = SelfAttention(config)
        self.attention_norm = _norm(config)
        self.feed_in = nn.Linear(config.hidden_size, config.intermediate_size)
        self.feed_out = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_norm = _norm(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_TH: Tensor, layout: Layout) -> Tensor:
        """[T, H] → [T, H]."""
        if self.is_pre_norm:
            hidden_TH = hidden_TH + self.dropout(self.attention(self.attention_norm(hidden_TH), layout))
            hidden_TH = hidden_TH + self.dropout(self._feed(self.feed_norm(hidden_TH)))
        else:
            hidden_TH = self.attention_norm(hidden_TH + self.dropout(self.attention(hidden_TH, layout)))
            hidden_TH = self.feed_norm(hidden_TH + self.dropout(self._feed(hidden_TH)))
        return hidden_TH

    def _feed(self, hidden_TH: Tensor) -> Tensor:
        fed_TH: Tensor = self.feed_out(F.gelu(self.feed_in(hidden_TH)))
        return fed_TH


class BertModel(nn.Module):
    """Embeddings, encoder, and, unless nothing is learned of rows as wholes, a pooler: what a downstream task keeps."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective = "nsp") -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, vocabulary_size)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = _norm(config) if config.norm == "pre" else nn.Identity()
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if objective != "none" else None
        self.checkpoint_activations = False  # compute each layer anew in the backward pass, with the same dropout

    def hidden_states(self, batch: Batch) -> Iterator[Tensor]:
        """The embeddings' output, then each layer's, one by one; [T, H] each. The last is the encoder's output."""
        layout = Layout.of(batch)
        hidden_TH = self.embeddings(batch)
        for layer in self.encoder:
            yield hidden_TH
            hidden_TH = self._run_layer(layer, hidden_TH, layout)
        yield self.norm(hidden_TH)

    def _run_layer(self, layer: nn.Module, hidden_TH: Tensor, layout: Layout) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            run: Callable[..., Tensor] = partial(
                checkpoint, layer, use_reentrant=False, preserve_rng_state=self.training
            )
        else:
            run = layer
        out_TH: Tensor = run(hidden_TH, layout)
        return out_TH

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The encoder's output [T, H], and that of each row's first token, pooled: [B, H], or None without pooler."""
        for hidden_TH in self.hidden_states(batch):
            last_TH = hidden_TH
        if self.pooler is None:
            return last_TH, None
        return last_TH, self.pooler(last_TH.index_select(0, batch.offsets[:-1])).tanh()


class MaskedLMHead(nn.Module):
    """Scores of every word piece at a masked position (section 3.1, task 1)."""

    def __init__(self, config: ModelConfig, word: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = _norm(config)
        self.decoder = nn.Linear(config.hidden_size, word.num_embeddings)
        self.decoder.weight = word.weight  # the embedding's own Parameter: ZeRO sees that it is one

    def forward(self, hidden_MH: Tensor) -> Tensor:
        """[M, H] → [M, V]."""
        logits_MV: Tensor = self.decoder(self.norm(F.gelu(self.dense(hidden_MH))))
        return logits_MV


class BertForPreTraining(nn.Module):
    """BERT with its pretraining heads: masked words, and, unless the objective is `none`, how a row's segments relate.

    `nsp` asks whether B follows A (section 3.1, task 2), `sop` whether A and B are swapped (Lan et al. 2020).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective = "nsp") -> None:
        super().__init__()
        self.bert = BertModel(config, vocabulary_size, objective)
        self.masked_lm = MaskedLMHead(config, self.bert.embeddings.word)
        self.next_sentence = nn.Linear(config.hidden_size, 2) if objective != "none" else None
        self.apply(lambda module: _initialise(module, config.initializer_range))
        if config.norm == "pre":
            self._narrow_residual_layers()

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Word scores at the masked positions [M, V], and next-sentence scores [B, 2]; in the weights' precision."""
        hidden_TH, pooled_BH = self.bert(batch)
        mlm_logits_MV = self.masked_lm(hidden_TH.index_select(0, batch.masked_positions))
        return mlm_logits_MV, None if self.next_sentence is None else self.next_sentence(pooled_BH)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over the batch: masked-LM loss, next-sentence loss (fp32 scalars), and how many of each were right.

        A plain tuple of tensors: DeepSpeed's ZeRO-3 hooks find them in nothing else. Without a next-sentence head its
        loss and count are zero.
        """
        mlm_logits_MV, nsp_logits_B2 = self.logits(batch)
        mlm_logits_MV = mlm_logits_MV.float()
        mlm_loss = F.cross_entropy(mlm_logits_MV, batch.masked_ids, reduction="sum")
        mlm_correct = (mlm_logits_MV.argmax(-1) == batch.masked_ids).sum()
        if nsp_logits_B2 is None:
            return mlm_loss, torch.zeros_like(mlm_loss), mlm_correct, torch.zeros_like(mlm_correct)
        nsp_logits_B2 = nsp_logits_B2.float()
        nsp_loss = F.cross_entropy(nsp_logits_B2, batch.next_sentence_label, reduction="sum", ignore_index=NO_LABEL)
        return mlm_loss, nsp_loss, mlm_correct, (nsp_logits_B2.argmax(-1) == batch.next_sentence_label).sum()

    @torch.no_grad()
    def set_decoder_bias(self, token_counts_V: Tensor) -> None:
        """Start the masked-LM bias at the log of the tokens' frequencies, each count plus one.

        The first prediction is then the corpus's unigram distribution, and no step is spent on finding it.
        """
        smoothed_V = token_counts_V.double() + 1
        self.masked_lm.decoder.bias.copy_((smoothed_V / smoothed_V.sum()).log())

    @torch.no_grad()
    def _narrow_residual_layers(self) -> None:
        """What is added to the residual sum starts smaller by √(2 layers): so the sum's scale hangs not on the depth.

        As in Megatron (section 3); the post form needs none of it.
        """
        for layer in self.bert.encoder:
            for linear in (layer.get_submodule("attention.output"), layer.get_submodule("feed_out")):
                linear.get_parameter("weight").div_(math.sqrt(2 * len(self.bert.encoder)))


def _norm(config: ModelConfig) -> LayerNorm:
    return LayerNorm(config.hidden_size, config.layer_norm_eps)


@torch.no_grad()
def _initialise(module: nn.Module, deviation: float) -> None:
    """As in the published code: weights from a normal distribution cut at two deviations, biases zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if isinstance(module, nn.Linear):
        module.bias.zero_()
