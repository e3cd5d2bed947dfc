"""ModernBERT at every ZeRO stage: losses of plain AdamW, exact resume with dropout, and the same with recomputation.

So is the model that attends from left to right, ModernBERT and BERT.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.schema import ModelConfig, TrainConfig
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.distributed import World, seed_everything, seed_for
from pretrain.engine.engine import Engine
from pretrain.engine.optimizers import parameter_groups
from pretrain.engine.schedule import learning_rate_at
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining
from tests.distributed import ranks, small
from tests.distributed.small import OPTIMIZER
from tests.pretrain.batches import random_batch, single_rows

CASES = [(stage, precision, "modernbert") for stage in (0, 1, 2, 3) for precision in ("fp32", "bf16")]
CASES += [(stage, "fp32", f"{name} left to right") for stage in (0, 1, 2, 3) for name in ("bert", "modernbert")]
STEPS, SAVED, ROWS = 8, 4, 4
Losses = dict[str, list[float]]


def model_of(kind: str, dropout: float) -> BertForPreTraining:
    seed_everything(5)
    local = {"global_attention_every_n_layers": 2, "local_attention": 6} if kind.startswith("modern") else {}
    fields: dict[str, Any] = {
        "architecture": kind.split()[0],
        "attention": "left_to_right" if kind.endswith("right") else "bidirectional",
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 22,
        "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    return BertForPreTraining(ModelConfig.model_validate(fields | local), 50, "none")


def rows_of(kind: str, step: int) -> Batch:
    return random_batch(step, ROWS, predicts_next=kind.endswith("right"))


def engine_of(
    world: World, stage: int, precision: str, kind: str, dropout: float, *, recomputes: bool = False
) -> Engine:
    model = model_of(kind, dropout)
    model.bert.checkpoint_activations = recomputes
    engine = Engine(model, OPTIMIZER, TrainConfig.model_validate({"zero_stage": stage, "precision": precision}), world)
    gc.freeze()  # DeepSpeed runs the garbage collector for each new engine, which would take seconds
    return engine


def losses_of(engine: Engine, kind: str, steps: range) -> list[float]:
    losses = []
    for step in steps:
        whole, total = rows_of(kind, step), torch.zeros(())
        mine = single_rows(whole)[engine.world.rank :: engine.world.world_size]
        for number, row in enumerate(mine):
            torch.manual_seed(seed_for(3, step, number, engine.world.rank))
            loss = share_of(engine.forward(row), whole)
            total += loss.detach()
            engine.backward(loss, last=number == len(mine) - 1)
        torch.distributed.all_reduce(total)
        losses.append(float(total))
        assert not engine.step(learning_rate_at(step, OPTIMIZER, STEPS)).skipped
    return losses


def share_of(outputs: tuple[Tensor, ...], whole: Batch) -> Tensor:
    return outputs[0] / len(whole.masked_ids)


def train(folder: str) -> Losses:
    """Train each case: without dropout; with dropout, saved halfway; and with recomputed layers."""
    world, results = small.join(), {}
    for stage, precision, kind in CASES:
        case = f"{stage} {precision} {kind}"
        results[f"plain {case}"] = losses_of(engine_of(world, stage, precision, kind, 0.0), kind, range(1, STEPS + 1))
        engine = engine_of(world, stage, precision, kind, 0.1)
        results[f"dropped {case}"] = losses_of(engine, kind, range(1, SAVED + 1))
        state = TrainingState(step=SAVED, cursor=SAVED * ROWS)
        assert checkpoints.save_checkpoint(Path(folder, case), engine, state, keep=1)
        results[f"dropped {case}"] += losses_of(engine, kind, range(SAVED + 1, STEPS + 1))
        engine = engine_of(world, stage, precision, kind, 0.1, recomputes=True)
        results[f"recomputed {case}"] = losses_of(engine, kind, range(1, STEPS + 1))
    return results


def resume(folder: str) -> Losses:
    world, results = small.join(), {}
    for stage, precision, kind in CASES:
        found = checkpoints.find_checkpoint(Path(folder, f"{stage} {precision} {kind}"))
        assert found is not None
        engine = engine_of(world, stage, precision, kind, 0.1)
        checkpoints.load_checkpoint(found, engine)
        results[f"{stage} {precision} {kind}"] = losses_of(engine, kind, range(SAVED + 1, STEPS + 1))
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def trained(folder: str) -> Losses:
    made: Losses = ranks.run(train, 2, folder, quiet=True, timeout_s=300)[0]
    return made


@pytest.fixture(scope="module")
def resumed(trained: Losses, folder: str) -> Losses:
    made: Losses = ranks.run(resume, 2, folder, quiet=True, timeout_s=300)[0]
    return made


@pytest.fixture(scope="module")
def reference() -> Losses:
    return {kind: plain_losses(kind) for _, _, kind in CASES}


def plain_losses(kind: str) -> list[float]:
    """The losses of plain torch AdamW on one rank, in fp32."""
    model, losses = model_of(kind, 0.0), []
    groups: Any = parameter_groups(model, OPTIMIZER.weight_decay)
    adam = torch.optim.AdamW(groups, betas=(OPTIMIZER.beta1, OPTIMIZER.beta2), eps=OPTIMIZER.eps)
    for step in range(1, STEPS + 1):
        batch = rows_of(kind, step)
        loss = share_of(model(batch), batch)
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.gradient_clipping)
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(step, OPTIMIZER, STEPS)
        adam.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("stage", "precision", "kind"), CASES)
class TestEveryCase:
    def test_losses_equal_those_of_plain_adamw(
        self, trained: Losses, reference: Losses, stage: int, precision: str, kind: str
    ) -> None:
        tolerance = 1e-5 if precision == "fp32" else 1e-2
        assert trained[f"plain {stage} {precision} {kind}"] == pytest.approx(reference[kind], rel=tolerance)

    def test_resume_continues_to_the_last_bit(
        self, trained: Losses, resumed: Losses, stage: int, precision: str, kind: str
    ) -> None:
        case = f"{stage} {precision} {kind}"
        assert resumed[case] == trained[f"dropped {case}"][SAVED:]
        assert trained[f"dropped {case}"] != trained[f"plain {case}"]

    def test_recomputed_layers_give_the_same_losses(
        self, trained: Losses, stage: int, precision: str, kind: str
    ) -> None:
        case = f"{stage} {precision} {kind}"
        assert trained[f"recomputed {case}"] == trained[f"dropped {case}"]
