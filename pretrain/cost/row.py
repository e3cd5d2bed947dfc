"""What one row costs on a device: FLOPs, activations, and the time of a forward and a backward."""

from __future__ import annotations

from configs.schema import Recipe
from pretrain.cost.hardware import Hardware
from pretrain.kernels import LOGITS_BYTES, block_size, scored_keys
from pretrain.model import FORWARD_AND_BACKWARD, row_flops

MATMUL_SHARE = 0.55  # share of the peak that BERT's matrix products reach
RECOMPUTED = 4 / 3  # two forwards and a backward, relative to one forward and a backward
PASSES_OVER_ACTIVATIONS = 3  # written once, read in the forward and in the backward


class RowCost:
    """The cost of a row of `length` tokens, of which `masked_tokens` are predicted.

    `mean_length` is the mean number of tokens per row, if the data set is known; otherwise rows are full.
    """

    def __init__(self, recipe: Recipe, hardware: Hardware, vocabulary_size: int, mean_length: float | None) -> None:
        self.recipe, self.hardware, self.vocabulary_size = recipe, hardware, vocabulary_size
        self.element_bytes = 4 if recipe.train.precision == "fp32" else 2
        self.is_fused = not hardware.is_cpu  # pretrain.kernels.fused
        # Flash attention, which does not store its scores: 16 bits, from Ampere on.
        self.is_flash = self.is_fused and self.element_bytes == 2 and hardware.name != "v100"
        self.length = round(mean_length or recipe.data.max_seq_length)
        self.masked_tokens = recipe.predicted_tokens(self.length)
        self.flops = row_flops(
            recipe.model,
            vocabulary_size,
            recipe.objective,
            length=self.length,
            masked_tokens=self.masked_tokens,
        )

    @property
    def seconds(self) -> float:
        """Seconds of the forward and backward of one row on one device."""
        recomputation = RECOMPUTED if self.recipe.train.activation_checkpointing else 1.0
        products_s = recomputation * (self.flops - self.unread_flops) / (self.hardware.peak_flops * MATMUL_SHARE)
        return products_s + PASSES_OVER_ACTIVATIONS * self._computed_bytes / (self.hardware.memory_gb_s * 1e9)

    @property
    def unread_flops(self) -> int:
        """FLOPs that the last layer saves for tokens that are neither masked nor the row's first."""
        model, unread = self.recipe.model, self.length - self.masked_tokens - 1
        feeds = 3 if model.is_modern else 2  # matrix products of a feed-forward layer
        products = model.hidden_size * (model.hidden_size + feeds * model.intermediate_size)
        return FORWARD_AND_BACKWARD * 2 * unread * products

    def activation_bytes(self, rows: float) -> float:
        """Return the peak bytes of the activations of a micro-batch, including the masked-LM head.

        The head computes the decoder's gradient in the forward, and keeps it until the embedding's gradient is added.
        In addition, the forward holds a chunk of logits, and the backward holds the gradient again, scaled by that of
        the loss. With activation checkpointing, each layer keeps its input, and one layer at a time keeps everything.
        """
        model, size = self.recipe.model, self.element_bytes
        if not rows:
            return 0.0
        decoder = size * self.vocabulary_size * model.hidden_size
        head = max(decoder, min(rows * size * self.masked_tokens * self.vocabulary_size, LOGITS_BYTES))
        if not self.recipe.train.activation_checkpointing:
            return decoder + head + rows * (self.layers_bytes + self.embedding_bytes)
        inputs = self.length * model.num_hidden_layers * size * model.hidden_size
        return decoder + rows * (inputs + self.embedding_bytes) + max(head, rows * self.layer_bytes())

    @property
    def _computed_bytes(self) -> float:
        """Bytes that the row reads and writes: activations kept for the backward, and fp32 logits."""
        logits = 12 * self.masked_tokens * self.vocabulary_size
        return self.layers_bytes + self.embedding_bytes + logits

    @property
    def embedding_bytes(self) -> float:
        """Bytes of the ids and, unless they are recomputed, of the fp32 sum and the dropout mask."""
        dropped = self.element_bytes if self.recipe.model.hidden_dropout_prob else 0
        shared = 0.0 if not self.recipe.model.is_modern else self._shared_bytes
        return self.length * (32 + shared + (0 if self.is_fused else (4 + dropped) * self.recipe.model.hidden_size))

    @property
    def _shared_bytes(self) -> float:
        """Bytes per token that all layers of ModernBERT share: rotary positions, and the window's bias if blocked."""
        model = self.recipe.model
        bases = len({model.is_global(layer) for layer in range(model.num_hidden_layers)})
        rotations = bases * 4 * model.hidden_size // model.num_attention_heads
        return rotations + (4 * scored_keys(model.reach) if bases == 2 and not self.is_flash else 0)

    @property
    def layers_bytes(self) -> float:
        """Bytes that all layers keep for the backward; only a few tokens of the last layer's output are read."""
        read_share = (self.masked_tokens + 1) / self.length
        top = self.recipe.model.num_hidden_layers - 1
        return sum(self.layer_bytes(layer=layer) for layer in range(top)) + self.layer_bytes(read_share, top)

    def layer_bytes(self, read_share: float = 1.0, layer: int = 0) -> float:
        """Return the bytes that one layer keeps for the backward if `read_share` of its output is read.

        Tensors of the hidden width: queries, keys and values, twice if attention pads them; the attention output; input
        and output of each of the two LayerNorms; without fused kernels, the inputs are fp32 and two dropout masks are
        kept. Tensors of the intermediate width: input and output of GELU; of GeGLU the input has twice the width, and
        without the fused kernel the result of GELU is kept. Local attention without flash attention copies the
        keys and values of each block.
        """
        model, size = self.recipe.model, self.element_bytes
        is_local, keys = not model.is_global(layer), self.recipe.data.max_seq_length
        feeds = (3 if self.is_fused else 4) if model.is_modern else 2
        dropped = 2 * size if model.hidden_dropout_prob else 0
        reach = model.reach
        copied = 2 + 2 * scored_keys(reach) / block_size(reach)
        attention = size * (4.0 if self.is_flash else copied if is_local else 7.0)
        norms = 4 * size if self.is_fused else 2 * size + 8 + dropped
        read = model.hidden_size * norms + feeds * size * model.intermediate_size
        kept = model.hidden_size * attention + read_share * read
        if not self.is_flash:  # the padded softmax; with dropout, also its mask and its result
            scores = size * (3 if model.attention_probs_dropout_prob else 1)
            kept += scores * model.num_attention_heads * (scored_keys(reach) if is_local else keys)
        return self.length * kept
