"""The small model of these tests, its rows, and a training step: BERT's difficult features in a few thousand weights.

It has a tied weight, embeddings, LayerNorm, biases, odd sizes (so that ZeRO splits parameters and pads), dropout, and
two losses that are sums over counts that differ between ranks.

Dimensions: R rows, L tokens per row, M masked positions in total, H width, V vocabulary.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ClusterConfig, OptimizerConfig, TrainConfig
from pretrain.engine.distributed import World, join_process_group, seed_everything, seed_for
from pretrain.engine.engine import Engine, StepResult
from pretrain.engine.schedule import learning_rate_at

VOCABULARY, WIDTH, LENGTH, ROWS = 37, 13, 6, 8
STEPS = 20
OPTIMIZER = OptimizerConfig(learning_rate=0.02, warmup_steps=3, weight_decay=0.1, gradient_clipping=1.0)


@dataclass(frozen=True)
class Batch:
    """Rows in the form that a trainer passes to the model. DeepSpeed does not know this type."""

    tokens: Tensor  # RL
    masked: Tensor  # RL, True for tokens to predict
    labels: Tensor  # R


class SmallModel(nn.Module):
    """Return two summed losses of a batch: over the masked tokens and over the rows."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(WIDTH, 3 * WIDTH)
        self.down = nn.Linear(3 * WIDTH, WIDTH)
        self.token_head = TokenHead(self.tokens)
        self.row_head = nn.Linear(WIDTH, 2)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden_RLH = self.norm(self.tokens(batch.tokens) + self.positions.weight)
        hidden_RLH = hidden_RLH + self.dropout(self.down(F.gelu(self.up(hidden_RLH))))
        logits_MV = self.token_head(hidden_RLH[batch.masked])
        token_loss = F.cross_entropy(logits_MV.float(), batch.tokens[batch.masked], reduction="sum")
        row_loss = F.cross_entropy(self.row_head(hidden_RLH[:, 0]).float(), batch.labels, reduction="sum")
        return token_loss, row_loss


class TokenHead(nn.Module):
    """The decoder: the weight of the embedding, and a bias."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))

    def forward(self, hidden_MH: Tensor) -> Tensor:
        return F.linear(hidden_MH, self.weight, self.bias)


def build(dropout: float = 0.0) -> SmallModel:
    """Return the same model on every rank."""
    seed_everything(3)
    return SmallModel(dropout)


def rows_of(step: int) -> Batch:
    """Return the global batch of a step: a rule to learn, and a number of masks that differs between rows."""
    generator = torch.Generator().manual_seed(step)
    first_R1 = torch.randint(VOCABULARY, (ROWS, 1), generator=generator)
    tokens_RL = (first_R1 + torch.arange(LENGTH)) % VOCABULARY
    masked_RL = torch.rand(ROWS, LENGTH, generator=generator) < torch.linspace(0.1, 0.9, ROWS)[:, None]
    masked_RL[0, 0] = True
    return Batch(tokens_RL, masked_RL, first_R1.squeeze(1) % 2)


def part_of(batch: Batch, rank: int, world_size: int) -> Batch:
    """Return every `world_size`-th row, starting at row `rank`."""
    rows = slice(rank, None, world_size)
    return Batch(batch.tokens[rows], batch.masked[rows], batch.labels[rows])


def share_of_loss(outputs: tuple[Tensor, ...], whole: Batch) -> Tensor:
    """Return a part's share of the global loss: its sums divided by the global counts."""
    token_loss, row_loss = outputs
    return token_loss / whole.masked.sum() + row_loss / ROWS


def join(collective_timeout_s: int = 60) -> World:
    """Return the world of a test's ranks."""
    return join_process_group(ClusterConfig(device="cpu", cpu_threads=1, collective_timeout_s=collective_timeout_s))


def engine_of(world: World, stage: int, precision: str, dropout: float = 0.0) -> Engine:
    """Return an engine for the small model."""
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": precision, "micro_batch_size": ROWS})
    engine = Engine(build(dropout), OPTIMIZER, train, world)
    gc.freeze()  # DeepSpeed runs the garbage collector for each new engine, which would take seconds
    return engine


def train_step(
    engine: Engine, step: int, micro_steps: int = 1, *, spoil: bool = False, skip: bool = False
) -> tuple[float, StepResult]:
    """Train one step, or skip it with `skip`. Return the global loss and the engine's result.

    `spoil` makes this rank's gradient NaN.
    """
    world, whole = engine.world, rows_of(step)
    total = torch.zeros(())
    for micro_step in range(micro_steps):
        part = part_of(whole, world.rank * micro_steps + micro_step, world.world_size * micro_steps)
        torch.manual_seed(seed_for(3, step, micro_step, world.rank))
        share = share_of_loss(engine.forward(part), whole)
        total += share.detach()
        engine.backward(share * float("nan") if spoil else share, last=micro_step == micro_steps - 1)
    torch.distributed.all_reduce(total)
    return total.item(), engine.skip_step() if skip else engine.step(learning_rate_at(step, OPTIMIZER, STEPS))


def losses_of(engine: Engine, steps: range) -> list[float]:
    """Train some steps and return their global losses."""
    return [train_step(engine, step)[0] for step in steps]
