"""`[model]`: the shape of the encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.schema.rows import Objective
from configs.schema.section import Section

# The fields that one architecture has and the other one lacks.
ONLY_IN = {
    "bert": ("norm", "hidden_act", "type_vocab_size"),
    "modernbert": (
        "global_attention_every_n_layers",
        "local_attention",
        "global_rotary_base",
        "local_rotary_base",
        "decoder_bias",
    ),
}

Activation = Literal[
    "gelu",
    "gelu_new",
    "gelu_10",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "leaky_relu",
    "silu",
    "hardswish",
    "mish",
    "tanh",
    "sigmoid",
    "laplace",
    "sqrtsoftplus",
    "linear",
]


class ModelConfig(Section):
    """The shape of BERT. The vocabulary size comes from the data set."""

    architecture: Literal["bert", "modernbert"] = Field(
        "bert",
        description="bert: as published by Devlin et al. (2019); modernbert: as published by Warner et al. (2024), "
        "with rotary positions, GeGLU, local attention, and almost no biases; it needs data.objective none.",
    )
    attention: Literal["bidirectional", "left_to_right"] = Field(
        "bidirectional",
        description="bidirectional: each token attends to those before and after it; left_to_right: only to itself and "
        "those before it, and the model learns to predict each word piece from those before it, on the same rows "
        "unmasked and without a sentence objective. This is the baseline of Devlin et al. (2019), section 5.1.",
    )
    hidden_size: int = Field(768, ge=1, le=1_000_000, description="Width of the encoder.")
    num_hidden_layers: int = Field(12, ge=1, le=10_000, description="Transformer layers.")
    num_attention_heads: int = Field(
        12, ge=1, le=100_000, description="Attention heads per layer; must divide hidden_size."
    )
    intermediate_size: int = Field(3072, ge=1, le=10_000_000, description="Width of the feed-forward layer.")
    max_position_embeddings: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="Maximum tokens of a row, at least data.max_seq_length. BERT has one position embedding for each.",
    )
    hidden_dropout_prob: float = Field(
        0.1, ge=0.0, lt=1.0, description="Dropout probability of embeddings and sub-layers."
    )
    attention_probs_dropout_prob: float = Field(
        0.1, ge=0.0, lt=1.0, description="Dropout probability of attention weights."
    )
    initializer_range: float = Field(
        0.02,
        ge=1e-9,
        le=100.0,
        description="Standard deviation of the normal distribution of initial weights, which is truncated at two of "
        "them, as in the published code; that of the weights is 0.88 of it.",
    )
    layer_norm_eps: float = Field(1e-12, ge=1e-30, le=1.0, description="Epsilon of LayerNorm.")
    norm: Literal["post", "pre"] = Field(
        "post",
        description="post: LayerNorm after each residual sum, as published; pre: before each sub-layer, as in "
        "Megatron.",
    )
    hidden_act: Activation = Field(
        "gelu",
        description="Activation of the feed-forward layers and of the masked-LM head, by transformers' name: gelu, as "
        "published; gelu_new is its tanh approximation. The others are for models that were trained with them, and "
        "have no fused kernel.",
    )
    type_vocab_size: int = Field(
        2,
        ge=1,
        le=1_000_000,
        description="Rows of the table of token types: segment A is 0, segment B is 1; other rows are not used. With "
        "1, both segments are 0.",
    )
    decoder_bias_init: Literal["zeros", "unigram"] = Field(
        "zeros",
        description="Initial bias of the masked-LM decoder: zeros, as published, or unigram: the log of the token "
        "frequencies.",
    )
    global_attention_every_n_layers: int = Field(
        3,
        ge=1,
        le=10_000,
        description="ModernBERT only: the first layer and every n-th after it attend to the whole row, the others "
        "locally; 1: all layers attend to the whole row.",
    )
    local_attention: int = Field(
        128,
        ge=2,
        le=1_000_000,
        multiple_of=2,
        description="ModernBERT only: tokens of the window of local attention, half of them on each side. "
        "From left to right, only the half before the token is used.",
    )
    global_rotary_base: float = Field(
        160_000.0,
        ge=1.0,
        le=1e12,
        description="ModernBERT only: base of the rotary positions in layers with global attention; raise it for "
        "longer rows.",
    )
    local_rotary_base: float = Field(
        10_000.0,
        ge=1.0,
        le=1e12,
        description="ModernBERT only: base of the rotary positions in layers with local attention.",
    )
    decoder_bias: bool = Field(True, description="ModernBERT only: whether the masked-LM decoder has a bias.")

    @property
    def is_modern(self) -> bool:
        """Whether the architecture is ModernBERT."""
        return self.architecture == "modernbert"

    @property
    def is_left_to_right(self) -> bool:
        """Whether a token attends to no token after it, and the model predicts the next one."""
        return self.attention == "left_to_right"

    @property
    def reach(self) -> int:
        """The number of tokens on each side of a token, or before it, to which it attends locally.

        From left to right, the token itself is one of the half window, as in transformers' ModernBERT decoder.
        """
        return self.local_attention // 2 - self.is_left_to_right

    def objective_of(self, prepared: Objective) -> Objective:
        """Return the sentence objective of a training on rows that were prepared for `prepared`.

        From left to right there is none: it would be predicted from [CLS], which precedes both sentences.
        """
        return "none" if self.is_left_to_right else prepared

    @property
    def is_pre_norm(self) -> bool:
        """Whether the input of each sub-layer is normalised, and not the residual sum."""
        return self.is_modern or self.norm == "pre"

    @property
    def has_segments(self) -> bool:
        """Whether the tokens of segments A and B have different token types."""
        return not self.is_modern and self.type_vocab_size > 1

    def is_global(self, layer: int) -> bool:
        """Return whether a layer, counted from 0, attends to the whole row."""
        return not self.is_modern or layer % self.global_attention_every_n_layers == 0

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that have no effect, each with the reason."""
        if not self.is_modern or self.global_attention_every_n_layers > 1:
            return {}
        reason = "model.global_attention_every_n_layers is 1, so no layer attends locally"
        return {"local_attention": reason, "local_rotary_base": reason}

    def foreign_fields(self) -> tuple[str, ...]:
        """Return the fields that belong to the other architecture."""
        return ONLY_IN["bert" if self.is_modern else "modernbert"]

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self

    @model_validator(mode="after")
    def _fields_are_the_architectures(self) -> ModelConfig:
        for name in self.foreign_fields():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f'model.{name} does not apply to model.architecture "{self.architecture}"; remove this setting'
                )
        if self.is_modern and self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"rotary positions need heads of an even width, but hidden_size {self.hidden_size} / "
                f"num_attention_heads {self.num_attention_heads} is odd"
            )
        if not self.decoder_bias and self.decoder_bias_init != "zeros":
            raise ValueError('decoder_bias_init "unigram" needs decoder_bias true')
        return self
