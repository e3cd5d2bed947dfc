"""LAMB on BERT gives the same update in one and two ranks at every ZeRO stage, and resumes from any of them.

Two launches serve all tests: two ranks train and save; one rank trains, and resumes from the checkpoints of the two.
"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from configs.schema import ModelConfig, OptimizerConfig, TrainConfig
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.distributed import World, seed_everything
from pretrain.engine.engine import Engine
from pretrain.engine.schedule import learning_rate_at
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from tests.distributed import ranks, small
from tests.pretrain.batches import random_batch, single_rows

STAGES, PRECISIONS = (0, 1, 2, 3), ("fp32", "bf16")
CASES = [(stage, precision) for stage in STAGES for precision in PRECISIONS]
STEPS, SAVED, ROWS = 20, 10, 4
OPTIMIZER = OptimizerConfig(name="lamb", learning_rate=0.1, warmup_steps=3, weight_decay=0.1)
MODEL = ModelConfig(
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=24,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)

Losses = dict[str, list[float]]


def train_and_save(folder: str) -> Losses:
    """Train every case from the start and save checkpoints."""
    return _train(small.join(), folder)


def train_and_resume(folder: str) -> Losses:
    """Train every case from the start, and resume every case of two ranks at another stage."""
    world = small.join()
    losses = _train(world, folder)
    for stage, precision in CASES:
        saved = checkpoints.find_checkpoint(Path(folder, f"2 ranks, {stage} {precision}"))
        assert saved is not None
        engine = engine_of(world, (stage + 2) % len(STAGES), precision)
        checkpoints.load_checkpoint(saved, engine)
        losses[f"resumed {stage} {precision}"] = losses_of(engine, range(SAVED + 1, STEPS + 1))
    return losses


def _train(world: World, folder: str) -> Losses:
    losses: Losses = {}
    for stage, precision in CASES:
        engine = engine_of(world, stage, precision)
        losses[f"{stage} {precision}"] = losses_of(engine, range(1, SAVED + 1))
        run = Path(folder, f"{world.world_size} ranks, {stage} {precision}")
        assert checkpoints.save_checkpoint(run, engine, TrainingState(step=SAVED, cursor=0), keep=1)
        losses[f"{stage} {precision}"] += losses_of(engine, range(SAVED + 1, STEPS + 1))
    return losses


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Losses]:
    """Rank 0's losses, by world size."""
    folder = str(tmp_path_factory.mktemp("runs"))
    two = ranks.run(train_and_save, 2, folder, quiet=True, timeout_s=300)[0]
    return {2: two, 1: ranks.run(train_and_resume, 1, folder, quiet=True, timeout_s=300)[0]}


@pytest.fixture(scope="module")
def reference() -> list[float]:
    """The losses of plain LAMB on one rank, implemented here from the paper's algorithm 2."""
    model, losses = build(), []
    tensors = [part for name, weight in model.named_parameters() for part in _tensors_of(name, weight)]
    averages, squares = ([torch.zeros_like(tensor) for tensor in tensors] for _ in range(2))
    for step in range(1, STEPS + 1):
        model.zero_grad()
        loss = share_of_loss(model, whole := batch_of(step), whole)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.gradient_clipping)
        gradients = [part for name, weight in model.named_parameters() for part in _tensors_of(name, weight.grad)]
        for tensor, gradient, average, square in zip(tensors, gradients, averages, squares, strict=True):
            average.copy_(OPTIMIZER.beta1 * average + (1 - OPTIMIZER.beta1) * gradient)
            square.copy_(OPTIMIZER.beta2 * square + (1 - OPTIMIZER.beta2) * gradient**2)
            corrected = average / (1 - OPTIMIZER.beta1**step)
            update = corrected / ((square / (1 - OPTIMIZER.beta2**step)).sqrt() + OPTIMIZER.eps)
            rate = learning_rate_at(step, OPTIMIZER, STEPS)
            if tensor.dim() > 1:
                update += OPTIMIZER.weight_decay * tensor
                rate *= (tensor.norm() / update.norm()).item()
            tensor -= rate * update
        losses.append(loss.item())
    return losses


def test_the_reference_learns(reference: list[float]) -> None:
    assert reference[-1] < 0.85 * reference[1]  # on the same rows


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(("stage", "precision"), CASES)
def test_losses_equal_those_of_plain_lamb(
    trained: dict[int, Losses], reference: list[float], world_size: int, stage: int, precision: str
) -> None:
    tolerance = 1e-6 if precision == "fp32" else 1e-2
    assert trained[world_size][f"{stage} {precision}"] == pytest.approx(reference, rel=tolerance)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_ranks_with_zero_equal_one_without(trained: dict[int, Losses], stage: int) -> None:
    assert trained[2][f"{stage} fp32"] == pytest.approx(trained[1]["0 fp32"], rel=1e-6)


@pytest.mark.parametrize(("stage", "precision"), CASES)
def test_one_rank_at_another_stage_resumes_from_two(trained: dict[int, Losses], stage: int, precision: str) -> None:
    uninterrupted = trained[2][f"{stage} {precision}"][SAVED:]
    tolerance = 1e-6 if precision == "fp32" else 1e-2
    assert trained[1][f"resumed {stage} {precision}"] == pytest.approx(uninterrupted, rel=tolerance)


def build() -> BertForPreTraining:
    """Return the same model on every rank."""
    seed_everything(5)
    return BertForPreTraining(MODEL, 50, "nsp")


def engine_of(world: World, stage: int, precision: str) -> Engine:
    """Return an engine for the model."""
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": precision, "micro_batch_size": ROWS})
    engine = Engine(build(), OPTIMIZER, train, world)
    gc.freeze()  # DeepSpeed runs the garbage collector for each new engine, which would take seconds
    return engine


def batch_of(step: int) -> Batch:
    """Return the global batch of a step. Two batches alternate, so that the model can learn them."""
    return random_batch(step % 2, ROWS)


def share_of_loss(model: object, part: Batch, whole: Batch) -> torch.Tensor:
    """Return a part's share of the global loss."""
    mlm_loss, nsp_loss, *_ = model(part)  # type: ignore[operator]  # a module, or an engine's forward
    share: torch.Tensor = mlm_loss / len(whole.masked_ids) + nsp_loss / ROWS
    return share


def losses_of(engine: Engine, steps: range) -> list[float]:
    """Train some steps with one row per micro-batch and return their global losses."""
    losses = []
    for step in steps:
        whole, total = batch_of(step), torch.zeros(())
        mine = single_rows(whole)[engine.world.rank :: engine.world.world_size]
        for row in mine:
            share = share_of_loss(engine.forward, row, whole)
            total += share.detach()
            engine.backward(share, last=row is mine[-1])
        torch.distributed.all_reduce(total)
        assert not engine.step(learning_rate_at(step, OPTIMIZER, STEPS)).skipped
        losses.append(total.item())
    return losses


def _tensors_of(name: str, tensor: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Return the published model's tensors in one of our parameters, as views without gradients."""
    assert tensor is not None
    return tensor.detach().chunk(3) if ".qkv." in name else (tensor.detach(),)
