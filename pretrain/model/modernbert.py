"""ModernBERT's embeddings and layers (Warner et al. 2024, "Smarter, Better, Faster, Longer").

What differs from BERT in the pre-LayerNorm form (`bert.py`):

- Rotary positions instead of position vectors, and no token types: the embeddings are the normalised word vectors.
- Layer 0 and every n-th layer after it attend to the whole row; the others attend to a window around each token, with a
  rotary base of their own.
- GeGLU: the first linear layer's output has twice the intermediate width, and one half gates the other.
- No biases, except the decoder's, and no LayerNorm before the first attention.

Modules have the names of BERT's. Shapes are those of `encoder.py`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from pretrain.kernels import Kernels, Rotation, rotation_of
from pretrain.model.batch import Batch
from pretrain.model.forward_pass import SITES_PER_LAYER, ForwardPass, Linear, Norm


def rotations_of(config: ModelConfig, positions_T: Tensor) -> dict[float, Rotation]:
    """Return the tokens' rotation for each base, computed once for all layers; empty for BERT."""
    width = config.hidden_size // config.num_attention_heads
    bases = {rotary_base(config, layer) for layer in range(config.num_hidden_layers)} if config.is_modern else ()
    return {base: rotation_of(positions_T, base, width) for base in bases}


def rotary_base(config: ModelConfig, layer: int) -> float:
    """Return the base of a layer's rotary positions."""
    return config.global_rotary_base if config.is_global(layer) else config.local_rotary_base


class ModernBertEmbeddings(nn.Module):
    """A token's word vector, normalised."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, config.hidden_size)
        self.norm = Norm(config)
        self.dropout = config.hidden_dropout_prob

    def forward(self, batch: Batch, shared: ForwardPass) -> Tensor:
        """[T] ids → [T, H]."""
        weight_H, _, epsilon = self.norm.weights
        dropout = shared.dropout(self.dropout, 0)
        hidden_TH: Tensor = shared.kernels.embed_words(batch.input_ids, self.word.weight, weight_H, epsilon, dropout)
        return hidden_TH


class RotaryAttention(nn.Module):
    """Multi-head self-attention with rotary positions, over the whole row or over a window around each token."""

    def __init__(self, config: ModelConfig, number: int, site: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.weights_dropout, self.site = config.attention_probs_dropout_prob, site
        self.base = rotary_base(config, number)
        self.reach = None if config.is_global(number) else config.reach
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.output = Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, normed_TH: Tensor, shared: ForwardPass, read_R: Tensor | None = None) -> Tensor:
        """[T, H] → [T, H], or [R, H] for the tokens `read_R`, which attend to all tokens in reach."""
        kernels, layout = shared.kernels, shared.layout
        qkv_TH3, _ = self.qkv(normed_TH, kernels)
        qkv_T3AD = kernels.rotate(qkv_TH3.unflatten(-1, (3, self.heads, -1)), shared.rotations[self.base])
        dropout = shared.dropout(self.weights_dropout, self.site)
        if self.reach is None:
            mixed_TAD: Tensor = kernels.attend(qkv_T3AD, layout, dropout)
        else:
            mixed_TAD = kernels.attend_locally(qkv_T3AD, layout, self.reach, dropout)
        attended_RH: Tensor = self.output(shared.gather_read(mixed_TAD.flatten(1), read_R), kernels)[0]
        return attended_RH


class ModernBertLayer(nn.Module):
    """Self-attention and a gated feed-forward layer; normalises the input of each, except of the first attention."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.dropout = config.hidden_dropout_prob
        self.first_site = 1 + SITES_PER_LAYER * number
        self.attention_norm = Norm(config) if number else None
        self.attention = RotaryAttention(config, number, self.first_site)
        self.feed_norm = Norm(config)
        self.feed_in = Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.feed_out = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_TH: Tensor, shared: ForwardPass, read_R: Tensor | None = None) -> Tensor:
        """[T, H] → [T, H], or [R, H] for the tokens `read_R`."""
        kernels = shared.kernels
        after_attention = shared.dropout(self.dropout, self.first_site + 1)
        after_feed = shared.dropout(self.dropout, self.first_site + 2)
        norm = self.attention_norm
        normed_TH = hidden_TH if norm is None else kernels.layer_norm(hidden_TH, *norm.weights)
        attended_RH = self.attention(normed_TH, shared, read_R)
        residual_RH = shared.gather_read(hidden_TH, read_R)
        weight_H, _, epsilon = self.feed_norm.weights
        hidden_RH, normed_RH = kernels.add_then_norm(attended_RH, residual_RH, weight_H, epsilon, after_attention)
        inner_R2F, _ = self.feed_in(normed_RH, kernels)
        fed_RH, _ = self.feed_out(kernels.geglu(inner_R2F), kernels)
        return kernels.add(fed_RH, None, hidden_RH, after_feed)


class ModernBertPooler(nn.Module):
    """The layer between the encoder and a task's head, for a row's first token or for every token.

    It has the shape of the masked-LM head's first layers, from which transformers initialises it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = Norm(config)

    def forward(self, hidden_TH: Tensor, kernels: Kernels) -> Tensor:
        """[T, H] → [T, H]."""
        return kernels.layer_norm(F.gelu(self.dense(hidden_TH)), *self.norm.weights)
