"""The fp32 master weights of ZeRO stage 0, on which the optimizer steps, and how gradients come to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.schema import TrainConfig
from pretrain.engine.distributed import World
from pretrain.engine.master_adamw import MasterAdamW

CLIPPING_EPSILON = 1e-6  # what torch adds to the norm


class MasterWeights:
    """A model's parameters by name: in bf16 fp32 copies of them, otherwise themselves.

    Gradients are accumulated in fp32. With `MasterAdamW` a bf16 one stays as it is where nothing is added to it.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainConfig, world: World) -> None:
        model.to(world.device)
        self.by_name: dict[str, Tensor] = dict(model.named_parameters())
        self._parameters = list(model.parameters())
        self._optimizer = optimizer
        if train.precision == "bf16":
            self._copy()

    def expect_gradients(self, *, once: bool) -> None:
        """Before the first backward of a step: will it be the only one?"""
        stays_narrow = once and isinstance(self._optimizer, MasterAdamW)
        for parameter in self._parameters:
            parameter.grad_dtype = torch.bfloat16 if stays_narrow else torch.float32

    def take_gradients(self, clipping: float) -> float:
        """Clip them by their global norm and hand them to the masters, if it is finite; it is returned."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = _norm(gradients)
        grad_norm = norm.item()
        if not math.isfinite(grad_norm):
            return grad_norm
        is_clipped = 0 < clipping < grad_norm + CLIPPING_EPSILON  # else by a factor of 1: a pass over all gradients
        if isinstance(self._optimizer, MasterAdamW):
            self._optimizer.scale = clipping / (grad_norm + CLIPPING_EPSILON) if is_clipped else 1.0
        elif is_clipped:
            nn.utils.clip_grads_with_norm_(self._parameters, clipping, norm)
        for parameter, master in zip(self._parameters, self.by_name.values(), strict=True):
            master.grad = parameter.grad
        return grad_norm

    def let_go(self) -> None:
        """Free the gradients."""
        for master in self.by_name.values():
            master.grad = None

    def _copy(self) -> None:
        for name, parameter in self.by_name.items():
            self.by_name[name] = parameter.detach().clone().requires_grad_()
            self.by_name[name].grad_dtype = None  # any
            parameter.data = parameter.data.to(torch.bfloat16)
        if isinstance(self._optimizer, MasterAdamW):
            self._optimizer.weights = dict(zip(self.by_name.values(), self._parameters, strict=True))
        for group in self._optimizer.param_groups:
            group["params"] = [self.by_name[name] for name in group["names"]]


def _norm(gradients: list[Tensor]) -> Tensor:
    """Of all together, in fp32: torch's own would round that of each bf16 gradient to bf16."""
    if gradients[0].dtype == torch.float32:
        return nn.utils.get_total_norm(gradients)
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm
