"""Fine-tuning: training of an encoder and a new head on a task's records, in one process, on ragged batches.

records → items → shuffled batches → scores → loss → AdamW;   validation after each epoch; the best epoch is kept
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from configs.errors import UserError
from configs.schema import ModelConfig, OptimizerConfig
from configs.transfer import Device, FinetuneConfig
from pretrain.engine import learning_rate_at, make_adamw, parameter_groups, seed_everything
from pretrain.model import BertModel
from pretrain.transfer.tasks import Answers, Item, Records, Splits, Task, TransferModel, joined

EVALUATION_ITEMS = 64

T = TypeVar("T")

ReportEpoch = Callable[[int, dict[str, float]], None]  # (step, loss and validation metrics)


def no_report(step: int, figures: dict[str, float]) -> None:
    """Discard the report."""


@dataclass
class Finetuned:
    """A model at its best epoch, its answers to the validation records, and the history of all epochs."""

    model: TransferModel
    validation: Answers
    epochs: list[dict[str, float]] = field(default_factory=list)  # loss and validation metrics of each completed epoch


def finetune(
    encoder: BertModel,
    model_config: ModelConfig,
    data: TaskItems,
    settings: FinetuneConfig,
    seed: int,
    report: ReportEpoch = no_report,
) -> Finetuned:
    """Train for `epochs`, or until validation has not improved for `patience` epochs; return the best epoch's model."""
    device, task = device_of(settings.device), data.task
    seed_everything(seed)
    model = TransferModel(encoder, task, model_config.hidden_dropout_prob, model_config.initializer_range).to(device)
    freeze(model.bert, settings.freeze_layers)
    items = data.training
    trainer = _Trainer(model, task, settings, math.ceil(len(items) / settings.batch_size))
    best, best_weights, epochs_since_best = Finetuned(model, Answers([], {}, [])), model.state_dict(), 0
    order = np.random.default_rng(seed)
    for epoch in range(1, settings.epochs + 1):
        loss = trainer.epoch([items[number] for number in order.permutation(len(items))])
        answers = predict(model, task, data.splits.validation, data.validation, settings)
        figures = {"loss": loss, **answers.metrics}
        report(trainer.step, figures)
        epochs_since_best += 1
        if not best.epochs or answers.metrics[task.watched] > best.validation.metrics[task.watched]:
            best.validation, best_weights, epochs_since_best = answers, copy.deepcopy(model.state_dict()), 0
        best.epochs.append({"epoch": epoch, **figures})
        if epochs_since_best >= settings.patience:
            break
    model.load_state_dict(best_weights)
    return best


@dataclass(frozen=True)
class TaskItems:
    """A task, its records, and the items made of them, once for all seeds."""

    task: Task
    splits: Splits
    training: list[Item]
    validation: list[Item]
    test: list[Item]

    @classmethod
    def of(cls, task: Task, splits: Splits) -> TaskItems:
        """Make the items of all records; raises `UserError` when no training record can be used."""
        training = task.items(splits.training, training=True)
        if not training:
            fix = "give records with texts"
            raise UserError("no usable training record", place=splits.training.place, fix=fix)
        others = (task.items(part, training=False) for part in (splits.validation, splits.test))
        return cls(task, splits, training, *others)

    def few(self, records: int, seed: int) -> TaskItems:
        """Return a copy with at most `records` training records, drawn by `seed`. The set of labels is unchanged."""
        chosen = set(np.random.default_rng(seed).permutation(len(self.splits.training))[:records].tolist())
        return replace(self, training=[item for item in self.training if item.record in chosen])


class _Trainer:
    """The optimizer steps of one fine-tuning."""

    def __init__(self, model: TransferModel, task: Task, settings: FinetuneConfig, steps_per_epoch: int) -> None:
        self.model, self.task, self.settings = model, task, settings
        self.steps = settings.epochs * steps_per_epoch
        self.optimizer = OptimizerConfig(
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=int(settings.warmup_fraction * self.steps),
        )
        self.adam = make_adamw(parameter_groups(model, settings.weight_decay), self.optimizer)
        self.step = 0

    def epoch(self, items: Sequence[Item]) -> float:
        """Train on the items once, in their order; return the mean loss."""
        self.model.train()
        device = next(self.model.parameters()).device
        total, largest_norm = torch.zeros((), device=device), torch.zeros((), device=device)
        for batch_items in batches_of(items, self.settings.batch_size):
            self.step += 1
            batch = joined(batch_items).to(device)
            with precision_of(self.settings, device):
                scores = self.model(batch)
            loss = self.task.loss(scores, batch, batch_items)
            loss.backward()  # type: ignore[no-untyped-call]
            largest_norm = torch.maximum(largest_norm, self._update())  # NaN if one of them is NaN
            total += loss.detach() * len(batch_items)
        if not (math.isfinite(float(total)) and math.isfinite(float(largest_norm))):
            raise diverged(f"the loss or a gradient is not finite at or before step {self.step}")
        return float(total) / len(items)

    def _update(self) -> Tensor:
        """Make one step, and return the norm of the gradient before clipping."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizer.gradient_clipping)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate_at(self.step, self.optimizer, self.steps)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return norm


@torch.no_grad()
def predict(
    model: TransferModel, task: Task, records: Records, items: Sequence[Item], settings: FinetuneConfig
) -> Answers:
    """Return the model's answers to all records; batches contain rows of similar length.

    Raises `UserError` if a score is not finite: such an answer would be arbitrary.
    """
    model.eval()
    device = next(model.parameters()).device
    decoded: list[Any] = [None] * len(items)
    by_length = sorted(range(len(items)), key=lambda number: len(items[number]))
    for start in range(0, len(items), EVALUATION_ITEMS):
        numbers = by_length[start : start + EVALUATION_ITEMS]
        batch_items = [items[number] for number in numbers]
        batch = joined(batch_items).to(device)
        with precision_of(settings, device):
            scores: Tensor = model(batch)
        if not bool(scores.isfinite().all()):
            raise diverged(f"the scores of {records.place} are not finite")
        for number, answer in zip(numbers, task.decode(scores, batch, batch_items), strict=True):
            decoded[number] = answer
    return task.answers(records, items, decoded)


def diverged(cause: str) -> UserError:
    """Return the error for numbers that are not finite."""
    return UserError(f"{cause}: the model has diverged", place="fine-tuning", fix="lower finetune.learning_rate")


def freeze(encoder: BertModel, layers: int) -> None:
    """Exclude the embeddings and the lowest `layers` from training; with 0, train everything."""
    if layers > len(encoder.encoder):
        cause = f"{layers} layers to freeze, but the encoder has {len(encoder.encoder)}"
        raise UserError(cause, place="finetune.freeze_layers", fix="lower it")
    frozen: list[nn.Module] = [encoder.embeddings, *encoder.encoder[:layers]] if layers else []
    for module in frozen:
        module.requires_grad_(False)


def device_of(device: Device) -> torch.device:
    """Return the torch device of a setting; raises `UserError` for cuda when torch finds no GPU."""
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UserError("torch finds no GPU", place="device cuda", fix="set device to auto or cpu")
    return torch.device("cuda" if found and device != "cpu" else "cpu")


def precision_of(settings: FinetuneConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that computes matrix products in bf16 on fp32 weights, or everything in fp32."""
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def batches_of(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield the items in their order, `size` at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
