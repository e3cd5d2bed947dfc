"""Fine-tuning: training of an encoder and a new head on a task's records, in one process, on ragged batches.

records → items → shuffled batches → scores → loss → AdamW;   validation after each epoch; the best epoch is kept
"""

from __future__ import annotations

import ctypes
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from configs.errors import UserError
from configs.schema import ModelConfig
from configs.transfer import Device, FinetuneConfig
from pretrain.engine import seed_everything
from pretrain.model import BertModel
from pretrain.transfer.labelled import Records, Splits
from pretrain.transfer.stepping import Stepper, batches_of, diverged, precision_of
from pretrain.transfer.tasks import Answers, Item, Task, TransferModel, joined

EVALUATION_ITEMS = 64
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 4 << 20  # of malloc.h; smaller blocks are faster from the heap

ReportEpoch = Callable[[int, dict[str, float]], None]  # (step, loss and validation metrics)


def no_report(step: int, figures: dict[str, float]) -> None:
    """Discard the report."""


@dataclass
class Finetuned:
    """A model at its best epoch, its task and answers to the validation records, and the history of all epochs."""

    model: TransferModel
    task: Task  # with the thresholds that are best on the validation records
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
    """Train for `epochs`, or until validation has not improved for `patience` epochs; return the best epoch's model.

    The best weights are kept in a temporary file while later epochs are trained, so that they need no memory.
    """
    device, task = device_of(settings.device), data.task
    unmap_large_blocks()
    seed_everything(seed)
    model = TransferModel(encoder, task, model_config.hidden_dropout_prob, model_config.initializer_range).to(device)
    freeze(model.bert, settings.freeze_layers)
    items = data.training
    stepper = Stepper(model, task, settings, settings.epochs * math.ceil(len(items) / settings.batch_size))
    found, best_epoch = Finetuned(model, task, Answers([], {}, [])), 0
    order = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "best.safetensors")
        for epoch in range(1, settings.epochs + 1):
            return_free_memory()
            loss = stepper.epoch([items[number] for number in order.permutation(len(items))])
            decoded = decode(model, task, data.validation, settings)
            answers = task.answers(data.splits.validation, data.validation, decoded)
            report(stepper.step, {"loss": loss, **answers.metrics})
            if not best_epoch or answers.metrics[task.watched] > found.validation.metrics[task.watched]:
                found.validation, best_epoch = answers, epoch
                found.task = task.tuned(data.splits.validation, data.validation, decoded)
                _keep(model, kept, is_last=epoch == settings.epochs)
            found.epochs.append({"epoch": epoch, "loss": loss, **answers.metrics})
            if epoch - best_epoch >= settings.patience:
                break
        if best_epoch < len(found.epochs):
            model.load_state_dict(load_file(kept, device=str(device)))
    return found


def unmap_large_blocks() -> None:
    """Have glibc return each freed block of `LARGE_BLOCK` bytes or more to the system; elsewhere, do nothing.

    By default glibc raises this limit to 32 MiB as blocks are freed, and keeps larger ones in its heap. Batches of
    different lengths then leave holes there that no later batch fits into, and memory grows with the number of epochs.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def return_free_memory() -> None:
    """Return the free pages of glibc's heap to the system; elsewhere, do nothing.

    Blocks below `LARGE_BLOCK` leave holes there as well: batches of an epoch, models of earlier seeds.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _keep(model: TransferModel, path: Path, *, is_last: bool) -> None:
    if not is_last:
        save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, path)


@dataclass(frozen=True)
class TaskItems:
    """A task, its records, and the items made of them, once for all seeds."""

    task: Task
    splits: Splits
    training: list[Item]
    validation: list[Item]
    test: list[Item]
    second_test: list[Item] = field(default_factory=list)

    @classmethod
    def of(cls, task: Task, splits: Splits) -> TaskItems:
        """Make the items of all records; raises `UserError` when no training record can be used."""
        training = task.items(splits.training, training=True)
        if not training:
            fix = "give records with texts"
            raise UserError("no usable training record", place=splits.training.place, fix=fix)
        others = [part for name, part in splits.parts().items() if name != "training"]
        return cls(task, splits, training, *(task.items(part, training=False) for part in others))

    def few(self, records: int, seed: int) -> TaskItems:
        """Return a copy with at most `records` training records, drawn by `seed`. The set of labels is unchanged."""
        chosen = set(np.random.default_rng(seed).permutation(len(self.splits.training))[:records].tolist())
        return replace(self, training=[item for item in self.training if item.record in chosen])


def predict(
    model: TransferModel, task: Task, records: Records, items: Sequence[Item], settings: FinetuneConfig
) -> Answers:
    """Return the model's answers to all labelled records, with metrics."""
    return task.answers(records, items, decode(model, task, items, settings))


@torch.no_grad()
def decode(model: TransferModel, task: Task, items: Sequence[Item], settings: FinetuneConfig) -> list[Any]:
    """Return what the task keeps of each item's scores; batches contain rows of similar length.

    Raises `UserError` if a score is not finite: such an answer would be arbitrary.
    """
    model.eval()
    device = next(model.parameters()).device
    decoded: list[Any] = [None] * len(items)
    by_length = sorted(range(len(items)), key=lambda number: len(items[number]))
    for numbers in batches_of(by_length, EVALUATION_ITEMS):
        batch_items = [items[number] for number in numbers]
        batch = joined(batch_items).to(device)
        with precision_of(settings, device):
            scores: Tensor = model(batch)
        if not bool(scores.isfinite().all()):
            raise diverged("scores are not finite")
        for number, answer in zip(numbers, task.decode(scores, batch, batch_items), strict=True):
            decoded[number] = answer
    return decoded


def check_settings(settings: FinetuneConfig, config: ModelConfig) -> None:
    """Raise `UserError` for settings that this model or this machine does not allow."""
    device_of(settings.device)
    if settings.max_length > config.max_position_embeddings:
        most = config.max_position_embeddings
        cause = f"rows of {settings.max_length} tokens, but the model has {most} positions"
        raise UserError(cause, place="finetune.max_length", fix=f"set it to {most} or less")
    if settings.freeze_layers > config.num_hidden_layers:
        cause = f"{settings.freeze_layers} layers to freeze, but the encoder has {config.num_hidden_layers}"
        raise UserError(cause, place="finetune.freeze_layers", fix="lower it")


def freeze(encoder: BertModel, layers: int) -> None:
    """Exclude the embeddings and the lowest `layers` from training; with 0, train everything."""
    frozen: list[nn.Module] = [encoder.embeddings, *encoder.encoder[:layers]] if layers else []
    for module in frozen:
        module.requires_grad_(False)


def device_of(device: Device) -> torch.device:
    """Return the torch device of a setting; raises `UserError` for cuda when torch finds no GPU."""
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UserError("torch finds no GPU", place="device cuda", fix="set device to auto or cpu")
    return torch.device("cuda" if found and device != "cpu" else "cpu")
