"""The Triton kernels. Each file has the name and the signatures of its plain-torch reference one folder up."""

from pretrain.kernels.fused import add_norm, embedding, geglu, gelu, lamb, masked_lm, residual_norm, rotary

__all__ = ["add_norm", "embedding", "geglu", "gelu", "lamb", "masked_lm", "residual_norm", "rotary"]
