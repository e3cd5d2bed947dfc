"""BERT for pretraining (Devlin et al. 2019): the encoder and its heads, with the decoder tied to the embeddings.

ModernBERT has the same masked-LM head, without the bias of its dense layer.

    T  tokens of all rows       B  rows     H  hidden_size
    M  masked positions         V  vocabulary

The masked-LM head runs on the masked positions only. Most of the encoder's last layer runs only on these and on each
row's first token, because no other output of it is read. Losses are sums, computed in fp32, so that the trainer can
divide by the counts of the global batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig, Objective
from pretrain.kernels import Kernels
from pretrain.model.activations import activated
from pretrain.model.batch import NO_LABEL, Batch
from pretrain.model.encoder import BertModel
from pretrain.model.forward_pass import Linear, Norm


class MaskedLMHead(nn.Module):
    """The head that predicts the word piece at a masked position (section 3.1, task 1)."""

    def __init__(self, config: ModelConfig, word: nn.Embedding) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size, defers_bias=True, bias=not config.is_modern)
        self.norm = Norm(config)
        self.activation = config.hidden_act
        self.decoder = nn.Linear(config.hidden_size, word.num_embeddings, bias=config.decoder_bias)
        self.decoder.weight = word.weight  # the embedding's own Parameter object, which ZeRO recognises as shared

    def forward(self, hidden_MH: Tensor, labels_M: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of correct predictions."""
        transformed_MH = self._transform(hidden_MH, kernels)
        weight_VH, bias_V = self.decoder.weight, self.decoder.bias
        bias_V = weight_VH.new_zeros(len(weight_VH)) if bias_V is None else bias_V
        loss, correct = kernels.masked_lm(transformed_MH, weight_VH, bias_V, labels_M)
        return loss, correct

    def logits(self, hidden_MH: Tensor, kernels: Kernels) -> Tensor:
        """Return the scores of all word pieces: [M, V]."""
        logits_MV: Tensor = self.decoder(self._transform(hidden_MH, kernels))
        return logits_MV

    def _transform(self, hidden_MH: Tensor, kernels: Kernels) -> Tensor:
        dense_MH, _ = self.dense(hidden_MH, kernels)
        bias_H = self.dense.bias
        activated_MH = F.gelu(dense_MH) if bias_H is None else activated(dense_MH, bias_H, self.activation, kernels)
        return kernels.layer_norm(activated_MH, *self.norm.weights)


class BertForPreTraining(nn.Module):
    """BERT with its pretraining heads: masked LM, and, unless the objective is `none`, next sentence.

    The next-sentence head predicts whether B follows A for `nsp` (section 3.1, task 2), and whether A and B are swapped
    for `sop` (Lan et al. 2020).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, objective: Objective) -> None:
        super().__init__()
        self.bert = BertModel(config, vocabulary_size, objective)
        self.masked_lm = MaskedLMHead(config, self.bert.embeddings.word)
        self.next_sentence = nn.Linear(config.hidden_size, 2) if objective != "none" else None
        self.apply(lambda module: _initialise(module, config.initializer_range))
        if config.is_pre_norm:
            self._scale_down_residual_layers()

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return word scores at masked positions [M, V] and next-sentence scores [B, 2], in the weights' precision."""
        hidden_MH, pooled_BH = self.bert(batch, batch.masked_positions)
        mlm_logits_MV = self.masked_lm.logits(hidden_MH, self.bert.kernels_for(batch))
        return mlm_logits_MV, None if self.next_sentence is None else self.next_sentence(pooled_BH)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return sums over the batch: the masked-LM and next-sentence losses (fp32 scalars) and correct predictions.

        The result is a plain tuple of tensors, because DeepSpeed's ZeRO-3 hooks find tensors only there. Without a
        next-sentence head its loss and count are zero.
        """
        hidden_MH, pooled_BH = self.bert(batch, batch.masked_positions)
        mlm_loss, mlm_correct = self.masked_lm(hidden_MH, batch.masked_ids, self.bert.kernels_for(batch))
        if self.next_sentence is None:
            return mlm_loss, torch.zeros_like(mlm_loss), mlm_correct, torch.zeros_like(mlm_correct)
        nsp_logits_B2 = self.next_sentence(pooled_BH).float()
        nsp_loss = F.cross_entropy(nsp_logits_B2, batch.next_sentence_label, reduction="sum", ignore_index=NO_LABEL)
        return mlm_loss, nsp_loss, mlm_correct, (nsp_logits_B2.argmax(-1) == batch.next_sentence_label).sum()

    @torch.no_grad()
    def set_decoder_bias(self, token_counts_V: Tensor) -> None:
        """Set the masked-LM bias to the log of the tokens' frequencies, with one added to each count.

        The first prediction is then the corpus's unigram distribution, which takes no steps to learn.
        """
        smoothed_V = token_counts_V.double() + 1
        self.masked_lm.decoder.bias.copy_((smoothed_V / smoothed_V.sum()).log())

    @torch.no_grad()
    def _scale_down_residual_layers(self) -> None:
        """Divide the weights whose output is added to the residual sum by √(2 layers).

        The scale of the sum then does not depend on the depth, as in Megatron (section 3). The post-LayerNorm form does
        not need this.
        """
        for layer in self.bert.encoder:
            for linear in (layer.get_submodule("attention.output"), layer.get_submodule("feed_out")):
                linear.get_parameter("weight").div_(math.sqrt(2 * len(self.bert.encoder)))


@torch.no_grad()
def _initialise(module: nn.Module, deviation: float) -> None:
    """Initialise as in the published code: normal weights truncated at two deviations, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if isinstance(module, nn.Linear) and module.bias is not None:
        module.bias.zero_()
