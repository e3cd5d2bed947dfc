"""Linear probes of a frozen encoder: how well each layer, and a learned mix of all layers, predicts a task's labels.

Each head is one linear layer on normalised vectors of one layer, or of a mix of all layers whose weights are learned
with it (Peters et al. 2018, equation 1). The encoder runs once; all heads are trained together on its vectors.

K heads: one per layer, then the mix · L layers, starting with the embeddings · N vectors · H width · C outputs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.transfer import FinetuneConfig
from pretrain.engine import seed_everything
from pretrain.model import BertModel
from pretrain.transfer.features import Mix, batches_by_length, mean_of_rows
from pretrain.transfer.finetuning import EVALUATION_ITEMS, TaskItems, device_of
from pretrain.transfer.stepping import batches_of, precision_of
from pretrain.transfer.tasks import Answers, Item, Task, joined

STEPS = 1_000  # of the heads' training
ROWS, SENTENCES = 64, 8  # items per step: with one vector per item, and with one vector per token
LEARNING_RATE, MIX_LEARNING_RATE = 3e-3, 3e-2
MAX_VECTORS = 100_000  # of the training records; this bounds the memory use


@dataclass(frozen=True)
class Probed:
    """The probes' answers to the test records, per layer and for the mix, and the learned mix."""

    layers: list[Answers]
    mixed: Answers
    mix: Mix


class Heads(nn.Module):
    """K linear heads on L layers: one per layer, and one on their mix."""

    def __init__(self, layers: int, width: int, outputs: int) -> None:
        super().__init__()
        self.mix_logits = nn.Parameter(torch.zeros(layers))
        self.weight = nn.Parameter(torch.zeros(layers + 1, width, outputs))
        self.bias = nn.Parameter(torch.zeros(layers + 1, 1, outputs))

    def forward(self, vectors_LNH: Tensor) -> Tensor:
        """[L, N, H] → [K, N, C]."""
        mixed_1NH = torch.einsum("l,lnh->nh", self.mix_logits.softmax(0), vectors_LNH)[None]
        vectors_KNH = torch.cat([vectors_LNH, mixed_1NH])
        scores_KNC: Tensor = F.layer_norm(vectors_KNH, vectors_KNH.shape[-1:]) @ self.weight + self.bias
        return scores_KNC


def probe(encoder: BertModel, data: TaskItems, settings: FinetuneConfig, seed: int) -> Probed:
    """Train the heads on the frozen encoder's vectors of the training records; return each head's test answers."""
    device, task = device_of(settings.device), data.task
    encoder = encoder.to(device).eval()
    items = _subsample(data.training, task, seed)
    with precision_of(settings, device):
        training_vectors, test_vectors = (vectors_of(encoder, task, part, device) for part in (items, data.test))
    heads = _train(task, items, training_vectors, seed)
    answers = _answer(heads, data, test_vectors)
    weights = heads.mix_logits.detach().softmax(0).tolist()
    return Probed(answers[:-1], answers[-1], Mix(list(range(len(weights))), weights))


@torch.no_grad()
def vectors_of(encoder: BertModel, task: Task, items: Sequence[Item], device: torch.device) -> list[Tensor]:
    """Return the vectors of each item, [L, its tokens or rows, H], in half precision on the host.

    A row's vector is the mean of its tokens.
    """
    found: list[Tensor] = [torch.empty(0)] * len(items)
    for numbers in batches_by_length([len(item) for item in items]):
        batch_items = [items[number] for number in numbers]
        batch = joined(batch_items).to(device)
        states_LTH = torch.stack(list(encoder.hidden_states(batch)))
        if task.per_token:
            parts = torch.split(states_LTH, [len(item) for item in batch_items], dim=1)
        else:
            rows_LBH = mean_of_rows(states_LTH, batch.offsets.diff().tolist())
            parts = torch.split(rows_LBH, [len(item.rows) for item in batch_items], dim=1)
        for number, part in zip(numbers, parts, strict=True):
            found[number] = part.half().cpu()
    return found


def _train(task: Task, items: Sequence[Item], vectors: Sequence[Tensor], seed: int) -> Heads:
    seed_everything(seed)
    layers, _, width = vectors[0].shape
    heads = Heads(layers, width, task.outputs)
    groups = [
        {"params": [heads.weight, heads.bias], "lr": LEARNING_RATE},
        {"params": [heads.mix_logits], "lr": MIX_LEARNING_RATE},
    ]
    adam = torch.optim.Adam(groups)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 1 / STEPS, total_iters=STEPS)
    batches = _shuffled(len(items), SENTENCES if task.per_token else ROWS, seed)
    for numbers in islice(batches, STEPS):
        batch_items = [items[number] for number in numbers]
        scores_KNC = heads(torch.cat([vectors[number] for number in numbers], dim=1).float())
        batch = joined(batch_items)
        loss = torch.stack([task.loss(scores_NC, batch, batch_items) for scores_NC in scores_KNC]).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        decay.step()
    return heads


def _shuffled(items: int, size: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of `size` item numbers, for an unlimited number of epochs."""
    draw = np.random.default_rng(seed)
    while True:
        yield from batches_of(draw.permutation(items).tolist(), size)


@torch.no_grad()
def _answer(heads: Heads, data: TaskItems, vectors: Sequence[Tensor]) -> list[Answers]:
    """Return the answers of each head to the test records."""
    task, decoded = data.task, [list[Any]() for _ in heads.weight]
    for numbers in batches_of(range(len(data.test)), EVALUATION_ITEMS):
        batch_items = [data.test[number] for number in numbers]
        batch = joined(batch_items)
        scores_KNC = heads(torch.cat([vectors[number] for number in numbers], dim=1).float())
        for of_head, scores_NC in zip(decoded, scores_KNC, strict=True):
            of_head += task.decode(scores_NC, batch, batch_items)
    return [task.answers(data.splits.test, data.test, of_head) for of_head in decoded]


def _subsample(items: Sequence[Item], task: Task, seed: int) -> list[Item]:
    """Return items, drawn by `seed`, with at most `MAX_VECTORS` vectors, and at least one item."""
    drawn = [items[number] for number in np.random.default_rng(seed).permutation(len(items))]
    counts = np.cumsum([len(item) if task.per_token else len(item.rows) for item in drawn])
    return drawn[: max(1, int(np.searchsorted(counts, MAX_VECTORS, side="right")))]
