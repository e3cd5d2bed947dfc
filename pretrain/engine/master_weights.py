"""The fp32 master weights of ZeRO stage 0, on which the optimizer steps, and how gradients come to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.schema import TrainConfig
from pretrain.engine.distributed import World
from pretrain.engine.optimizers import OnePassOptimizer

CLIPPING_EPSILON = 1e-6  # what torch adds to the norm


class MasterWeights:
    """A model's parameters by name: in bf16 fp32 copies of them, otherwise themselves.

    Gradients are accumulated in fp32. Where `one_pass` is the optimizer, a step's only bf16 gradient stays in bf16.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        one_pass: OnePassOptimizer | None,
        train: TrainConfig,
        world: World,
    ) -> None:
        model.to(world.device)
        self.by_name: dict[str, Tensor] = dict(model.named_parameters())
        self._parameters: list[Tensor] = list(model.parameters())
        self._one_pass = one_pass
        self._are_copies = train.precision == "bf16"
        if self._are_copies:
            self._copy(optimizer)

    def expect_gradients(self, *, once: bool) -> None:
        """Before the first backward of a step: whether it is the only one."""
        dtype = torch.bfloat16 if once and self._one_pass else torch.float32
        for parameter in self._parameters:
            parameter.grad_dtype = dtype

    def take_gradients(self, clipping: float) -> float:
        """Clip them by their global norm and hand them to the masters, if it is finite; it is returned."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = _norm(gradients)
        grad_norm = norm.item()
        if not math.isfinite(grad_norm):
            return grad_norm
        is_clipped = 0 < clipping < grad_norm + CLIPPING_EPSILON  # else by a factor of 1: a pass over all gradients
        if self._one_pass:
            self._one_pass.scale = clipping / (grad_norm + CLIPPING_EPSILON) if is_clipped else 1.0
        elif is_clipped:
            nn.utils.clip_grads_with_norm_(self._parameters, clipping, norm)
        for parameter, master in zip(self._parameters, self.by_name.values(), strict=True):
            master.grad = parameter.grad
        return grad_norm

    def end_step(self) -> None:
        """After the optimizer's step: free the gradients and bring the model's weights up to date."""
        for master in self.by_name.values():
            master.grad = None
        if not self._one_pass:  # which has done it
            self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the masters to the model's weights."""
        if self._are_copies:
            torch._foreach_copy_(self._parameters, list(self.by_name.values()))

    def _copy(self, optimizer: torch.optim.Optimizer) -> None:
        for name, parameter in self.by_name.items():
            self.by_name[name] = parameter.detach().clone().requires_grad_()
            self.by_name[name].grad_dtype = None  # any
            parameter.data = parameter.data.to(torch.bfloat16)
        if self._one_pass:
            self._one_pass.weights = dict(zip(self.by_name.values(), self._parameters, strict=True))
        for group in optimizer.param_groups:
            group["params"] = [self.by_name[name] for name in group["names"]]


def _norm(gradients: list[Tensor]) -> Tensor:
    """Of all together, in fp32: torch's own would round that of each bf16 gradient to bf16."""
    if gradients[0].dtype == torch.float32:
        return nn.utils.get_total_norm(gradients)
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm
