"""Recomputing layers in the backward pass gives the same losses to the last bit, with dropout, at every ZeRO stage."""

from __future__ import annotations

import gc

import pytest
import torch

from configs.schema import TrainConfig
from pretrain.engine.distributed import seed_everything, seed_for
from pretrain.engine.engine import Engine
from pretrain.engine.schedule import learning_rate_at
from pretrain.model.pretraining import BertForPreTraining
from tests.distributed import ranks, small, test_lamb
from tests.pretrain.batches import random_batch, single_rows

CASES = [(stage, precision) for stage in (0, 1, 2, 3) for precision in ("fp32", "bf16")]
STEPS = 4
MODEL = test_lamb.MODEL.model_copy(update={"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1})


def train() -> dict[str, list[float]]:
    """Return each case's losses and last gradient norm, with and without recomputation."""
    world = small.join()
    results = {}
    for stage, precision in CASES:
        for checkpointing in (False, True):
            seed_everything(5)
            model = BertForPreTraining(MODEL, 50, "nsp")
            model.bert.checkpoint_activations = checkpointing
            settings = {"zero_stage": stage, "precision": precision}
            engine = Engine(model, test_lamb.OPTIMIZER, TrainConfig.model_validate(settings), world)
            gc.freeze()  # DeepSpeed runs the garbage collector for each new engine, which would take seconds
            results[f"{stage} {precision} {checkpointing}"] = _losses_of(engine)
    return results


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 2])
def results(request: pytest.FixtureRequest) -> dict[str, list[float]]:
    """Rank 0's results with one and two ranks."""
    made: dict[str, list[float]] = ranks.run(train, request.param, quiet=True, timeout_s=300)[0]
    return made


@pytest.mark.parametrize(("stage", "precision"), CASES)
def test_losses_and_gradients_are_the_same(results: dict[str, list[float]], stage: int, precision: str) -> None:
    without = results[f"{stage} {precision} False"]
    assert results[f"{stage} {precision} True"] == without
    assert len(set(without)) == len(without)  # the losses change, so it trains


def test_backward_pass_keeps_less_memory() -> None:
    assert _kept_bytes(checkpointing=True) < 0.4 * _kept_bytes(checkpointing=False)


def _kept_bytes(*, checkpointing: bool) -> int:
    model, kept = BertForPreTraining(MODEL, 50, "nsp"), 0
    model.bert.checkpoint_activations = checkpointing

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.bert(random_batch(0, 8))
    return kept


def _losses_of(engine: Engine) -> list[float]:
    world, losses = engine.world, []
    for step in range(1, STEPS + 1):
        whole, total = random_batch(step, 4), torch.zeros(())
        mine = single_rows(whole)[world.rank :: world.world_size]
        for micro_step, row in enumerate(mine):
            torch.manual_seed(seed_for(3, step, micro_step, world.rank))
            share = test_lamb.share_of_loss(engine.forward, row, whole)
            total += share.detach()
            engine.backward(share, last=row is mine[-1])
        torch.distributed.all_reduce(total)
        result = engine.step(learning_rate_at(step, test_lamb.OPTIMIZER, STEPS))
        losses += [total.item(), result.grad_norm]
    return losses
