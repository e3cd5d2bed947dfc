"""What all layers share in one forward pass, and the modules that hold their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from configs.schema import ModelConfig
from pretrain.kernels import Dropout, Kernels, Rotation, RowLayout

SITES_PER_LAYER = 3  # dropouts: of the attention weights, and after each of two sub-layers; site 0 is the embeddings'


@dataclass(frozen=True)
class ForwardPass:
    """The kernels, row layout and dropout seed that all layers share in one forward pass."""

    kernels: Kernels
    layout: RowLayout
    seed: Tensor | None  # of every dropout; None outside training
    rotations: Mapping[float, Rotation] = field(default_factory=dict)  # by base; empty for BERT

    def dropout(self, probability: float, site: int) -> Dropout | None:
        """Return the dropout at one site of the model; None where nothing is dropped."""
        return Dropout(probability, self.seed, site) if self.seed is not None and probability else None

    def gather_read(self, hidden_TH: Tensor, read_R: Tensor | None) -> Tensor:
        """Return the tokens `read_R`, which must be distinct; with None, all tokens."""
        return hidden_TH if read_R is None else self.kernels.gather_rows(hidden_TH, read_R)


class Linear(nn.Linear):
    """A linear layer. With `defers_bias`, its bias is added by the operation that follows it."""

    def __init__(self, inputs: int, outputs: int, *, defers_bias: bool = False, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.defers_bias = defers_bias

    def forward(self, input: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: A002
        """[T, inputs] → [T, outputs], and the input, which the caller uses in a residual sum."""
        return kernels.linear(input, self.weight, None if self.defers_bias else self.bias)


class Norm(nn.LayerNorm):
    """The weights of a LayerNorm (Ba et al. 2016); ModernBERT's has no bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.hidden_size, config.layer_norm_eps, bias=not config.is_modern)

    @property
    def weights(self) -> tuple[Tensor, Tensor, float]:
        """Weight, bias and epsilon, the arguments of an operation; the bias of ModernBERT is None."""
        return self.weight, self.bias, self.eps
