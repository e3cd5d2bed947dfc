"""The selection of the fused operations' backend, made and logged once per process."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.distributed
from torch import Tensor

from configs.errors import UserError
from pretrain.kernels import (
    add_norm,
    attention,
    embedding,
    geglu,
    gelu,
    lamb,
    linear,
    masked_lm,
)
from pretrain.kernels.attention import Rotation, RowLayout
from pretrain.kernels.dropout import Dropout
from pretrain.kernels.lamb import LambState, LambStep, Segments
from pretrain.kernels.masked_lm import MaskedLm

Backend = Literal["auto", "triton", "reference"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kernels:
    """The operations of one backend. Each computes what the reference of the same name does; arguments are positional.

    Weights are passed as arguments. Under ZeRO 3 the caller must read them as attributes of their modules first:
    DeepSpeed gathers weights when they are read.
    """

    name: Literal["triton", "reference"]
    embed: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float, Dropout | None], Tensor]
    embed_sum: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Dropout | None], Tensor]
    embed_words: Callable[[Tensor, Tensor, Tensor, float, Dropout | None], Tensor]
    linear: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
    layer_norm: Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
    add_norm: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, Dropout | None], Tensor]
    add: Callable[[Tensor, Tensor | None, Tensor, Dropout | None], Tensor]
    add_then_norm: Callable[[Tensor, Tensor, Tensor, float, Dropout | None], tuple[Tensor, Tensor]]
    bias_gelu: Callable[[Tensor, Tensor], Tensor]
    geglu: Callable[[Tensor], Tensor]
    masked_lm: Callable[[Tensor, Tensor, Tensor, Tensor], MaskedLm]
    gather_rows: Callable[[Tensor, Tensor], Tensor]
    rotate: Callable[[Tensor, Rotation], Tensor]
    attend: Callable[[Tensor, RowLayout, Dropout | None], Tensor]
    attend_locally: Callable[[Tensor, RowLayout, int, Dropout | None], Tensor]
    lamb_moments: Callable[[LambState, Tensor, Segments, LambStep], Tensor]
    lamb_update: Callable[[LambState, Tensor, Segments, LambStep], None]


@cache
def choose_kernels(device: str, backend: Backend = "auto") -> Kernels:
    """Return the kernels for a device type, "cuda" or "cpu".

    "auto" selects Triton on CUDA and the references elsewhere. Logs the choice and its reason once, on rank 0. Raises
    `UserError` when Triton is requested and cannot run.
    """
    obstacle = _obstacle_to_triton(device)
    if backend == "triton" and obstacle:
        raise UserError(f"Triton kernels cannot run: {obstacle}", fix='request the "auto" or "reference" kernels')
    if backend == "reference":
        return _logged(_reference(), logging.INFO, "the recipe requests them")
    if backend == "auto" and device != "cuda":
        return _logged(_reference(), logging.INFO, f"the device is {device}")
    if obstacle:
        return _logged(_reference(), logging.WARNING, f"{obstacle}; training will be slower")
    return _logged(_fused(), logging.INFO, "the recipe requests them" if backend == "triton" else "the device is cuda")


def _obstacle_to_triton(device: str) -> str:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the device is {device}, and TRITON_INTERPRET=1 is not set"
    return ""


def _logged(kernels: Kernels, level: int, reason: str) -> Kernels:
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        logger.log(level, "kernels: %s, because %s", kernels.name, reason)
    return kernels


def _reference() -> Kernels:
    return Kernels(
        name="reference",
        embed=embedding.embed,
        embed_sum=embedding.embed_sum,
        embed_words=embedding.embed_words,
        linear=linear.linear,
        layer_norm=add_norm.layer_norm,
        add_norm=add_norm.add_norm,
        add=add_norm.add,
        add_then_norm=add_norm.add_then_norm,
        bias_gelu=gelu.bias_gelu,
        geglu=geglu.geglu,
        masked_lm=masked_lm.masked_lm,
        gather_rows=masked_lm.gather_rows,
        rotate=attention.rotate,
        attend=attention.attend_plain,
        attend_locally=attention.attend_in_blocks,
        lamb_moments=lamb.moments,
        lamb_update=lamb.update,
    )


def _fused() -> Kernels:
    from pretrain.kernels import fused  # imports Triton, which is not installed everywhere

    return Kernels(
        name="triton",
        embed=fused.embedding.embed,
        embed_sum=fused.embedding.embed_sum,
        embed_words=embedding.embed_words,
        linear=linear.fused_linear,
        layer_norm=fused.add_norm.layer_norm,
        add_norm=fused.add_norm.add_norm,
        add=fused.add_norm.add,
        add_then_norm=fused.residual_norm.add_then_norm,
        bias_gelu=fused.gelu.bias_gelu,
        geglu=fused.geglu.geglu,
        masked_lm=fused.masked_lm.masked_lm,
        gather_rows=masked_lm.gather_rows,
        rotate=fused.rotary.rotate,
        attend=attention.attend,
        attend_locally=attention.attend_locally,
        lamb_moments=fused.lamb.moments,
        lamb_update=fused.lamb.update,
    )
