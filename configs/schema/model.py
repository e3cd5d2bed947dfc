"""`[model]`: the shape of the encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.schema.section import Section


class ModelConfig(Section):
    """The shape of BERT. The vocabulary size comes from the data set."""

    hidden_size: int = Field(768, ge=1, le=1_000_000, description="Width of the encoder.")
    num_hidden_layers: int = Field(12, ge=1, le=10_000, description="Transformer layers.")
    num_attention_heads: int = Field(
        12, ge=1, le=100_000, description="Attention heads per layer; must divide hidden_size."
    )
    intermediate_size: int = Field(3072, ge=1, le=10_000_000, description="Width of the feed-forward layer.")
    max_position_embeddings: int = Field(
        512, ge=1, le=1_000_000, description="Number of position embeddings; at least data.max_seq_length."
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
    decoder_bias_init: Literal["zeros", "unigram"] = Field(
        "zeros",
        description="Initial bias of the masked-LM decoder: zeros, as published, or unigram: the log of the token "
        "frequencies.",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self
