"""The fp32 master weights of ZeRO stage 0, which the optimizer updates, and their gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.schema import TrainConfig
from pretrain.engine.distributed import World
from pretrain.engine.optimizers import OnePassOptimizer

CLIPPING_EPSILON = 1e-6  # torch adds it to the norm


class MasterWeights:
    """The master weights of a model by name: fp32 copies of the parameters in bf16, otherwise the parameters.

    Gradients are accumulated in fp32. With a `one_pass` optimizer, the gradient of a step with a single micro-batch
    stays in bf16.
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
        """Prepare for a step's gradients; call it before the first backward. `once`: there is only one backward."""
        dtype = torch.bfloat16 if once and self._one_pass else torch.float32
        for parameter in self._parameters:
            parameter.grad_dtype = dtype

    def take_gradients(self, clipping: float) -> float:
        """Clip the gradients by their global norm, pass them to the masters if it is finite, and return the norm."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = _norm(gradients)
        grad_norm = norm.item()
        if not math.isfinite(grad_norm):
            return grad_norm
        is_clipped = 0 < clipping < grad_norm + CLIPPING_EPSILON  # a factor of 1 would waste a pass over all gradients
        if self._one_pass:
            self._one_pass.scale = clipping / (grad_norm + CLIPPING_EPSILON) if is_clipped else 1.0
        elif is_clipped:
            nn.utils.clip_grads_with_norm_(self._parameters, clipping, norm)
        for parameter, master in zip(self._parameters, self.by_name.values(), strict=True):
            master.grad = parameter.grad
        return grad_norm

    def end_step(self) -> None:
        """Free the gradients and update the model's weights; call it after the optimizer's step."""
        for master in self.by_name.values():
            master.grad = None
        if not self._one_pass:  # it has already rounded them
            self.refresh()

    def discard_gradients(self) -> None:
        """Free the accumulated gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters to the model's weights, rounded to their precision."""
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
    """Return the global norm in fp32; torch's function would round the norm of each bf16 gradient to bf16."""
    if gradients[0].dtype == torch.float32:
        return nn.utils.get_total_norm(gradients)
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm
