"""BERT for pretraining (Devlin et al. 2019), as published: post-LayerNorm, exact GELU, decoder tied to the embeddings.

    T  tokens of all rows, one row behind another      H  hidden_size
    B  rows                                            F  intermediate_size
    M  masked positions of all rows                    V  vocabulary
    A  num_attention_heads                             D  width of a head, H / A

Rows are ragged: nothing is padded, and only the masked positions go through the masked-LM head. The losses are sums,
so that the trainer can divide by the counts of the whole global batch. Logits go to fp32 before a loss.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from pretrain.attention import Layout, attend
from pretrain.batch import NO_LABEL, Batch
from pretrain.layers import Embedding, LayerNorm

TOKEN_TYPES = 2  # segments A and B


class BertEmbeddings(nn.Module):
    """The sum of a token's word, position and segment vectors, normalised (section 3, figure 2)."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = Embedding(vocabulary_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = Embedding(TOKEN_TYPES, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
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
    """Self-attention, then a feed-forward layer; after each the residual sum is normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_in = nn.Linear(config.hidden_size, config.intermediate_size)
        self.feed_out = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_TH: Tensor, layout: Layout) -> Tensor:
        """[T, H] → [T, H]."""
        attended_TH = self.dropout(self.attention(hidden_TH, layout))
        hidden_TH = self.attention_norm(hidden_TH + attended_TH)
        fed_TH = self.dropout(self.feed_out(F.gelu(self.feed_in(hidden_TH))))
        normed_TH: Tensor = self.feed_norm(hidden_TH + fed_TH)
        return normed_TH


class BertModel(nn.Module):
    """Embeddings, encoder, pooler: what a downstream task keeps."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, vocabulary_size)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)

    def hidden_states(self, batch: Batch) -> Iterator[Tensor]:
        """The embeddings' output, then each layer's, one by one; [T, H] each."""
        layout = Layout.of(batch)
        hidden_TH = self.embeddings(batch)
        yield hidden_TH
        for layer in self.encoder:
            hidden_TH = layer(hidden_TH, layout)
            yield hidden_TH

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The last layer's output [T, H], and that of each row's first token, pooled: [B, H]."""
        for hidden_TH in self.hidden_states(batch):
            last_TH = hidden_TH
        pooled_BH = self.pooler(last_TH.index_select(0, batch.offsets[:-1])).tanh()
        return last_TH, pooled_BH


class MaskedLMHead(nn.Module):
    """Scores of every word piece at a masked position (section 3.1, task 1)."""

    def __init__(self, config: ModelConfig, word: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, word.num_embeddings)
        self.decoder.weight = word.weight  # the embedding's own Parameter: ZeRO sees that it is one

    def forward(self, hidden_MH: Tensor) -> Tensor:
        """[M, H] → [M, V]."""
        logits_MV: Tensor = self.decoder(self.norm(F.gelu(self.dense(hidden_MH))))
        return logits_MV


class BertForPreTraining(nn.Module):
    """BERT with its two pretraining heads: masked words, and whether B follows A."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.bert = BertModel(config, vocabulary_size)
        self.masked_lm = MaskedLMHead(config, self.bert.embeddings.word)
        self.next_sentence = nn.Linear(config.hidden_size, 2)
        self.apply(lambda module: _initialise(module, config.initializer_range))

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Word scores at the masked positions [M, V], and next-sentence scores [B, 2]; in the weights' precision."""
        hidden_TH, pooled_BH = self.bert(batch)
        mlm_logits_MV = self.masked_lm(hidden_TH.index_select(0, batch.masked_positions))
        return mlm_logits_MV, self.next_sentence(pooled_BH)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over the batch: masked-LM loss, next-sentence loss (fp32 scalars), and how many of each were right.

        A plain tuple of tensors: DeepSpeed's ZeRO-3 hooks find them in nothing else.
        """
        mlm_logits_MV, nsp_logits_B2 = (logits.float() for logits in self.logits(batch))
        mlm_loss = F.cross_entropy(mlm_logits_MV, batch.masked_ids, reduction="sum")
        nsp_loss = F.cross_entropy(nsp_logits_B2, batch.next_sentence_label, reduction="sum", ignore_index=NO_LABEL)
        mlm_correct = (mlm_logits_MV.argmax(-1) == batch.masked_ids).sum()
        nsp_correct = (nsp_logits_B2.argmax(-1) == batch.next_sentence_label).sum()
        return mlm_loss, nsp_loss, mlm_correct, nsp_correct

    @torch.no_grad()
    def set_decoder_bias(self, token_counts_V: Tensor) -> None:
        """Start the masked-LM bias at the log of the tokens' frequencies, each count plus one.

        The first prediction is then the corpus's unigram distribution, and no step is spent on finding it.
        """
        smoothed_V = token_counts_V.double() + 1
        self.masked_lm.decoder.bias.copy_((smoothed_V / smoothed_V.sum()).log())


@torch.no_grad()
def _initialise(module: nn.Module, deviation: float) -> None:
    """As in the published code: weights from a normal distribution cut at two deviations, biases zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if isinstance(module, nn.Linear):
        module.bias.zero_()
