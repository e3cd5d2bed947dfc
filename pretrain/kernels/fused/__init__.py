"""The Triton kernels, each in a file named like its plain-torch reference one folder up, with the same signatures."""

from pretrain.kernels.fused import add_norm, embedding, gelu, lamb, masked_lm

__all__ = ["add_norm", "embedding", "gelu", "lamb", "masked_lm"]
