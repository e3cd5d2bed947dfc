"""The optimizer steps of a fine-tuning: micro-batches, layer-wise learning rates, clipping, AdamW."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from configs.errors import UserError
from configs.schema import OptimizerConfig
from configs.transfer import FinetuneConfig
from pretrain.engine import learning_rate_at, make_adamw, parameter_groups
from pretrain.transfer.tasks import Item, Task, TransferModel, joined

LAYER = re.compile(r"bert\.encoder\.(\d+)\.")

T = TypeVar("T")


class Stepper:
    """Trains a model on a task's batches; its learning rate rises and falls over `steps`."""

    def __init__(self, model: TransferModel, task: Task, settings: FinetuneConfig, steps: int) -> None:
        self.model, self.task, self.settings, self.steps = model, task, settings, steps
        self.optimizer = OptimizerConfig(
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=int(settings.warmup_fraction * steps),
        )
        self.adam = make_adamw(layer_groups(model, settings), self.optimizer)
        self.step = 0
        self.largest_norm = torch.zeros(())  # of the gradient, before clipping

    def epoch(self, items: Sequence[Item]) -> float:
        """Train on the items once, in their order; return the mean loss."""
        self.model.train()
        device = next(self.model.parameters()).device
        total = torch.zeros((), device=device)
        for batch_items in batches_of(items, self.settings.batch_size):
            total += self.take(batch_items) * len(batch_items)
        if not (math.isfinite(float(total)) and math.isfinite(float(self.largest_norm))):
            raise diverged(f"the loss or a gradient is not finite at or before step {self.step}")
        return float(total) / len(items)

    def take(self, items: Sequence[Item]) -> torch.Tensor:
        """Take one optimizer step on these items, in micro-batches; return their mean loss."""
        self.step += 1
        device = next(self.model.parameters()).device
        size = -(-len(items) // self.settings.gradient_accumulation_steps)
        weight, total = self.task.weight(items), torch.zeros((), device=device)
        for some in batches_of(items, size):
            batch = joined(some).to(device)
            with precision_of(self.settings, device):
                scores = self.model(batch)
            loss = self.task.loss(scores, batch, some)
            if len(some) < len(items):
                loss = loss * (self.task.weight(some) / max(weight, 1e-12))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._update()
        return total

    def _update(self) -> None:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizer.gradient_clipping)
        self.largest_norm = torch.maximum(self.largest_norm.to(norm.device), norm)  # NaN if one of them is NaN
        for group in self.adam.param_groups:
            group["lr"] = group["share"] * learning_rate_at(self.step, self.optimizer, self.steps)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


def diverged(cause: str) -> UserError:
    """Return the error for numbers that are not finite."""
    return UserError(f"{cause}: the model has diverged", place="fine-tuning", fix="lower finetune.learning_rate")


def layer_groups(model: TransferModel, settings: FinetuneConfig) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups, each with its `share` of the learning rate (Clark et al. 2020, appendix B)."""
    groups = parameter_groups(model, settings.weight_decay)
    if settings.layer_decay == 1.0:
        return [{**group, "share": 1.0} for group in groups]
    made = []
    layers = len(model.bert.encoder)
    for group in groups:
        by_depth: dict[int, list[tuple[str, Any]]] = {}
        for name, parameter in zip(group["names"], group["params"], strict=True):
            by_depth.setdefault(depth_of(name, layers), []).append((name, parameter))
        for depth, named in by_depth.items():
            of_depth = {"names": [name for name, _ in named], "params": [parameter for _, parameter in named]}
            made.append({**group, **of_depth, "share": settings.layer_decay**depth})
    return made


def depth_of(name: str, layers: int) -> int:
    """Return how many layers lie above a parameter: 0 for the head, `layers` + 1 for the embeddings."""
    found = LAYER.match(name)
    if found:
        return layers - int(found[1])
    return layers + 1 if name.startswith("bert.embeddings.") else 0


def precision_of(settings: FinetuneConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that computes matrix products in bf16 on fp32 weights, or everything in fp32."""
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def batches_of(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield the items in their order, `size` at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
