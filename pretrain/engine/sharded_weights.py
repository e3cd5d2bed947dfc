"""ZeRO stage 1 (Rajbhandari et al. 2020, section 5.1) in bf16 and fp32: masters and moments are divided among ranks.

DeepSpeed's own stage 1 makes two operations per parameter and micro-step to accumulate gradients and another per
parameter to compute their norm, and reduces gradients on all ranks instead of only on their owner. Here weights lie in
a few flat buckets, and all work of a step is per bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from configs.schema import TrainConfig
from pretrain.engine import buffers
from pretrain.engine.distributed import World
from pretrain.engine.master_weights import CLIPPING_EPSILON
from pretrain.engine.optimizers import FlatSlice

ALIGNMENT = 64  # elements: a parameter begins at a multiple of it, and so does each rank's share


def is_sharded_here(train: TrainConfig) -> bool:
    """Return whether `ShardedWeights` is used. Loss scaling and offload are DeepSpeed's."""
    return train.zero_stage == 1 and train.precision != "fp16" and not train.offload_optimizer


@dataclass(frozen=True)
class Bucket:
    """Parameters of one optimizer group in one flat tensor; this rank owns an even share of its elements.

    `master` is the share in fp32: a copy of the weights in bf16, or the weights themselves.
    """

    names: list[str]
    parameters: list[Tensor]
    offsets: list[int]  # of each parameter in the flat tensor
    weights: Tensor  # flat, in the model's precision; the parameters are views of it
    own: slice
    master: Tensor

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the parameters' parts of a flat tensor like `weights`, in their shapes."""
        named = zip(self.offsets, self.parameters, strict=True)
        return [flat[offset : offset + parameter.numel()].view_as(parameter) for offset, parameter in named]

    def places(self) -> Iterator[FlatSlice]:
        """Yield the parts of parameters that this rank owns."""
        for name, offset, parameter in zip(self.names, self.offsets, self.parameters, strict=True):
            start, stop = max(self.own.start, offset), min(self.own.stop, offset + parameter.numel())
            if start < stop:
                yield FlatSlice(name, start - offset, self.master, start - self.own.start, stop - start)


class ShardedWeights:
    """The weights of a model at stage 1, in buckets of at most `buffers.BUCKET_ELEMENTS` or one larger parameter.

    Gradients are accumulated in fp32 on every rank, and summed over ranks once per step. Replaces the `params`
    of the optimizer's groups by this rank's shares.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainConfig, world: World) -> None:
        model.to(world.device)
        self._world = world
        self._dtype = torch.bfloat16 if train.precision == "bf16" else torch.float32
        self._sent = torch.float32 if train.gradient_reduction == "fp32" else torch.bfloat16
        self.buckets: list[Bucket] = []
        for group in optimizer.param_groups:
            buckets = [self._bucket(names, parameters) for names, parameters in _divided(group)]
            group["params"] = [bucket.master for bucket in buckets]
            self.buckets += buckets

    def expect_gradients(self, *, once: bool) -> None:
        """Do nothing: gradients are fp32 in every step."""

    def take_gradients(self, clipping: float) -> float:
        """Sum the gradients over ranks, clip them by their global norm, and pass this rank's shares to the masters.

        Returns the norm. If it is not finite, the masters have no gradients.
        """
        shares = [self._reduced(bucket) for bucket in self.buckets]
        square = nn.utils.get_total_norm(shares).square()
        torch.distributed.all_reduce(square)
        norm = square.sqrt()
        grad_norm: float = norm.item()
        if math.isfinite(grad_norm):
            if 0 < clipping < grad_norm + CLIPPING_EPSILON:
                torch._foreach_mul_(shares, clipping / (grad_norm + CLIPPING_EPSILON))
            for bucket, share in zip(self.buckets, shares, strict=True):
                bucket.master.grad = share
        return grad_norm

    def end_step(self) -> None:
        """Free the gradients and update the model's weights; call it after the optimizer's step."""
        self.discard_gradients()
        self.refresh()

    def discard_gradients(self) -> None:
        """Free the gradients of weights and masters."""
        for bucket in self.buckets:
            for weights in (bucket.master, *bucket.parameters):
                weights.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Send every rank's masters to all ranks, rounded to the weights' precision. A collective."""
        for bucket in self.buckets:
            own = bucket.master.to(self._dtype, copy=True)
            torch.distributed.all_gather_into_tensor(bucket.weights, own)

    @torch.no_grad()
    def _reduced(self, bucket: Bucket) -> Tensor:
        """Return this rank's share of a bucket's gradients, summed over ranks, and free them."""
        total = torch.zeros_like(bucket.weights, dtype=self._sent)
        gradients = [parameter.grad for parameter in bucket.parameters if parameter.grad is not None]
        torch._foreach_copy_(bucket.views(total), gradients)
        gradients.clear()
        for parameter in bucket.parameters:
            parameter.grad = None
        share = torch.empty_like(total[bucket.own])
        torch.distributed.reduce_scatter_tensor(share, total)
        return share.float()

    def _bucket(self, names: list[str], parameters: list[Any]) -> Bucket:
        offsets, end = [], 0
        for parameter in parameters:
            offsets.append(end)
            end += _aligned(parameter.numel(), ALIGNMENT)
        share = _aligned(end, ALIGNMENT * self._world.world_size) // self._world.world_size
        exact = torch.zeros(share * self._world.world_size, device=self._world.device)
        own = slice(share * self._world.rank, share * (self._world.rank + 1))
        for parameter, offset in zip(parameters, offsets, strict=True):
            exact[offset : offset + parameter.numel()] = parameter.detach().flatten()
        weights = exact.to(self._dtype)
        master = exact[own].clone() if self._dtype != exact.dtype else weights[own]
        bucket = Bucket(names, parameters, offsets, weights, own, master.requires_grad_())
        for parameter, view in zip(parameters, bucket.views(weights), strict=True):
            parameter.data = view
            parameter.grad_dtype = torch.float32
        return bucket


def _divided(group: dict[str, Any]) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield the names and parameters of each bucket of an optimizer group."""
    names: list[str] = []
    parameters: list[Any] = []
    elements = 0
    for name, parameter in zip(group["names"], group["params"], strict=True):
        if names and elements + parameter.numel() > buffers.BUCKET_ELEMENTS:
            yield names, parameters
            names, parameters, elements = [], [], 0
        names.append(name)
        parameters.append(parameter)
        elements += parameter.numel()
    yield names, parameters


def _aligned(elements: int, multiple: int) -> int:
    return -(-elements // multiple) * multiple
