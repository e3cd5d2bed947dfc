"""The engine in one and two ranks, at every ZeRO stage and precision: losses, accumulation, skipped steps, resume.

Four launches of ranks serve all tests: training in two ranks and in one, then resuming in fresh processes in two ranks
and in one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.fragment_files import open_fragments
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from pretrain.engine.optimizers import parameter_groups
from pretrain.engine.partition import KINDS
from pretrain.engine.schedule import learning_rate_at
from tests.distributed import ranks, small
from tests.distributed.small import OPTIMIZER, STEPS

STAGES, PRECISIONS = (0, 1, 2, 3), ("fp32", "bf16")
CASES = [(stage, precision) for stage in STAGES for precision in PRECISIONS]
TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}
DROPOUT = 0.1
MICRO_STEPS = (1, 2, 4, 1, 2)  # in the first five steps

Results = dict[str, Any]


def train_all(folder: str) -> Results:
    """Runs in the first processes, case by case."""
    world = small.join()
    results: Results = {}
    for stage, precision in CASES:
        case = f"{stage} {precision}"
        results[f"parity {case}"] = small.losses_of(small.engine_of(world, stage, precision), range(1, STEPS + 1))
        is_last = world.rank == world.world_size - 1
        results[f"skip {case}"] = _skip_a_step(world, stage, precision, spoil=is_last)
        results[f"ask to skip {case}"] = _skip_a_step(world, stage, precision, skip=True, micro_steps=2)
        results[f"accumulate {case}"] = _accumulate(world, stage, precision)
        for dropout in (0.0, DROPOUT):
            engine = small.engine_of(world, stage, precision, dropout)
            small.losses_of(engine, range(1, 6))
            _save(_run(folder, world.world_size, stage, precision, dropout), engine, 5)
            results[f"go on {case} {dropout}"] = small.losses_of(engine, range(6, 11))
    return results


def resume_all(folder: str) -> Results:
    """Runs in the second processes: resume each case unchanged, and from every stage at the other world size."""
    world = small.join()
    results: Results = {}
    for stage, precision in CASES:
        engine = small.engine_of(world, stage, precision, DROPOUT)
        _load(_run(folder, world.world_size, stage, precision, DROPOUT), engine)
        results[f"resume {stage} {precision}"] = small.losses_of(engine, range(6, 11))
        for saved_stage in STAGES:
            case = f"{saved_stage} {stage} {precision}"
            run, copy = _run(folder, 3 - world.world_size, saved_stage, precision, 0.0), Path(folder) / f"copy {case}"
            engine = small.engine_of(world, stage, precision)
            _load(run, engine)
            _save(copy, engine, 5)
            results[f"differences {case}"] = _differences(run, copy)
            results[f"resume elsewhere {case}"] = small.losses_of(engine, range(6, 11))
    # Last, like stage 3 above: DeepSpeed's stage 3 replaces torch's linear layer by one that rounds differently.
    results["there and back"] = _there_and_back(world, folder)
    return results


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Results]:
    """Rank 0's results of the first processes, by world size; key 0 has the folder of the runs."""
    folder = tmp_path_factory.mktemp("runs")
    by_world_size = {size: ranks.run(train_all, size, str(folder), quiet=True, timeout_s=300)[0] for size in (2, 1)}
    return by_world_size | {0: {"folder": str(folder)}}


@pytest.fixture(scope="module")
def resumed(trained: dict[int, Results]) -> dict[int, Results]:
    """Rank 0's results of the second processes, by world size."""
    folder = trained[0]["folder"]
    return {size: ranks.run(resume_all, size, folder, quiet=True, timeout_s=300)[0] for size in (2, 1)}


@pytest.fixture(scope="module")
def reference() -> list[float]:
    """The losses of plain torch AdamW on one rank, in fp32."""
    model = small.build()
    adam = torch.optim.AdamW(
        parameter_groups(model, OPTIMIZER.weight_decay), betas=(OPTIMIZER.beta1, OPTIMIZER.beta2), eps=OPTIMIZER.eps
    )
    losses = []
    for step in range(1, STEPS + 1):
        batch = small.rows_of(step)
        loss = small.share_of_loss(model(batch), batch)
        adam.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.gradient_clipping)
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(step, OPTIMIZER, STEPS)
        adam.step()
        losses.append(loss.item())
    return losses


def test_the_reference_learns(reference: list[float]) -> None:
    assert reference[-1] < 0.4 * reference[0]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(("stage", "precision"), CASES)
class TestEveryCase:
    def test_losses_equal_those_of_plain_adamw(
        self, trained: dict[int, Results], reference: list[float], world_size: int, stage: int, precision: str
    ) -> None:
        losses = trained[world_size][f"parity {stage} {precision}"]
        assert losses == pytest.approx(reference, rel=TOLERANCE[precision])

    @pytest.mark.parametrize("reason", ["skip", "ask to skip"])  # a NaN on one rank; by `skip_step`
    def test_a_skipped_step_changes_nothing_on_any_rank(
        self, trained: dict[int, Results], world_size: int, stage: int, precision: str, reason: str
    ) -> None:
        result = trained[world_size][f"{reason} {stage} {precision}"]
        assert result["skipped"] is True
        assert math.isinf(result["grad_norm"])
        assert result["changed"] == []
        assert result["losses"] == result["losses without it"]

    def test_micro_batches_add_up_to_the_batch(
        self, trained: dict[int, Results], world_size: int, stage: int, precision: str
    ) -> None:
        result = trained[world_size][f"accumulate {stage} {precision}"]
        # In fp32 only the order of additions differs; in bf16 also the rounding of each micro-batch's gradient.
        assert result["grad_norms"] == pytest.approx(result["whole"], rel=1e-6 if precision == "fp32" else 1e-2)
        assert result["distance"] < (1e-6 if precision == "fp32" else 1e-2)

    def test_resume_continues_to_the_last_bit_with_dropout(
        self, trained: dict[int, Results], resumed: dict[int, Results], world_size: int, stage: int, precision: str
    ) -> None:
        uninterrupted = trained[world_size][f"go on {stage} {precision} {DROPOUT}"]
        assert resumed[world_size][f"resume {stage} {precision}"] == uninterrupted
        assert uninterrupted != trained[world_size][f"go on {stage} {precision} 0.0"]  # dropout was on

    @pytest.mark.parametrize("saved_stage", STAGES)
    def test_any_stage_and_world_size_resumes_from_any_other(
        self,
        trained: dict[int, Results],
        resumed: dict[int, Results],
        world_size: int,
        stage: int,
        precision: str,
        saved_stage: int,
    ) -> None:
        case = f"{saved_stage} {stage} {precision}"
        assert resumed[world_size][f"differences {case}"] == []
        uninterrupted = trained[3 - world_size][f"go on {saved_stage} {precision} 0.0"]
        assert resumed[world_size][f"resume elsewhere {case}"] == pytest.approx(uninterrupted, rel=TOLERANCE[precision])


@pytest.mark.parametrize("world_size", [1, 2])
def test_stage_1_to_3_and_back(trained: dict[int, Results], resumed: dict[int, Results], world_size: int) -> None:
    uninterrupted = trained[world_size]["parity 1 fp32"][5:15]
    assert resumed[world_size]["there and back"] == pytest.approx(uninterrupted, rel=1e-5)


def _skip_a_step(world: World, stage: int, precision: str, **skipping: Any) -> Results:
    """Train steps 1 to 5, of which step 3 is skipped for the reason in `skipping`, and steps 1, 2, 4 and 5 alone."""
    engine = small.engine_of(world, stage, precision)
    losses = small.losses_of(engine, range(1, 3))
    before = _weights_of(engine)
    _, result = small.train_step(engine, 3, **skipping)
    changed = [name for name, weight in _weights_of(engine).items() if not torch.equal(weight, before[name])]
    losses += small.losses_of(engine, range(4, 6))
    other = small.engine_of(world, stage, precision)
    without = small.losses_of(other, range(1, 3)) + small.losses_of(other, range(4, 6))
    return {
        "skipped": result.skipped,
        "grad_norm": result.grad_norm,
        "changed": changed,
        "losses": losses,
        "losses without it": without,
    }


def _accumulate(world: World, stage: int, precision: str) -> Results:
    """Return the gradient norms of five steps, and how far the weights differ from those without micro-batches."""
    accumulating, whole = (small.engine_of(world, stage, precision) for _ in range(2))
    pairs = [
        (small.train_step(accumulating, step, micro_steps)[1], small.train_step(whole, step)[1])
        for step, micro_steps in enumerate(MICRO_STEPS, start=1)
    ]
    ours, theirs = (torch.cat([fragment.master for fragment in e.partition.fragments]) for e in (accumulating, whole))
    return {
        "grad_norms": [one.grad_norm for one, _ in pairs],
        "whole": [other.grad_norm for _, other in pairs],
        "distance": ((ours - theirs).norm() / theirs.norm()).item(),
    }


def _weights_of(engine: Engine) -> dict[str, Tensor]:
    """Return this rank's state, and a model output that depends on all weights."""
    tensors = {
        f"{kind} {part.name}": getattr(part, kind).clone() for part in engine.partition.fragments for kind in KINDS
    }
    with torch.no_grad():
        engine.module.eval()
        tensors["losses"] = torch.stack(engine.module(small.rows_of(1)))
        engine.module.train()
    return tensors


def _there_and_back(world: World, folder: str) -> list[float]:
    engine = small.engine_of(world, 3, "fp32")
    _load(_run(folder, world.world_size, 1, "fp32", 0.0), engine)
    losses = small.losses_of(engine, range(6, 11))
    run = Path(folder) / f"at stage 3 of {world.world_size}"
    _save(run, engine, 10)
    engine = small.engine_of(world, 1, "fp32")
    _load(run, engine)
    return losses + small.losses_of(engine, range(11, 16))


def _run(folder: str, world_size: int, stage: int, precision: str, dropout: float) -> Path:
    return Path(folder) / f"{world_size} ranks, stage {stage}, {precision}, dropout {dropout}"


def _save(run: Path, engine: Engine, step: int) -> None:
    assert checkpoints.save_checkpoint(run, engine, TrainingState(step=step, cursor=step * small.ROWS), keep=1)


def _load(run: Path, engine: Engine) -> None:
    found = checkpoints.find_checkpoint(run)
    assert found is not None
    assert checkpoints.load_checkpoint(found, engine).step == engine.optimizer_steps


def _differences(run: Path, other_run: Path) -> list[str]:
    """Return the names of tensors that differ between two runs' checkpoints in any bit."""
    ours, theirs = _whole_tensors(run), _whole_tensors(other_run)
    return [name for name in ours.keys() | theirs.keys() if not torch.equal(ours[name], theirs[name])]


def _whole_tensors(run: Path) -> dict[str, Tensor]:
    folder = checkpoints.find_checkpoint(run)
    assert folder is not None
    state = checkpoints.read_state(folder)
    sizes = {name: math.prod(shape) for name, shape in state.parameters.items()}
    tensors = {f"{kind} {name}": torch.empty(size) for name, size in sizes.items() for kind in KINDS}
    with open_fragments([folder / file.name for file in state.files], sizes) as saved:
        for name in sizes:
            for kind in KINDS:
                saved.read(kind, name, 0, tensors[f"{kind} {name}"])
    return tensors
