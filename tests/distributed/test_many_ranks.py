"""One rank of 8, 64 and 512: its memory, what it sends, its start, its rows, and its part of a checkpoint.

Torch's fake process group runs a rank without the others. Each figure is compared with the plan's, or with that of the
smallest world.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.units import GIB
from pretrain.checkpoint import load_checkpoint, saving
from pretrain.checkpoint.state import STATE, FileEntry, TrainingState, state_text
from pretrain.cost import HARDWARE, Cost
from pretrain.data.dataset import Dataset
from pretrain.data.loader import Loader
from pretrain.engine import KINDS, Engine, World
from pretrain.engine.partition import Fragment
from pretrain.model import BertForPreTraining
from tests.benchmarks.plan_counts import BOUNDS, MICRO_STEPS
from tests.benchmarks.traffic import Traffic
from tests.distributed import fake_ranks, small
from tests.distributed.peak_memory import ROWS, VOCABULARY, full_rows, peak_bytes, recipe_of
from tests.pretrain.synthetic import write_dataset

WORLD_SIZES, STAGES = (8, 64, 512), (0, 1, 2, 3)
SAVED_BY, READ_BY = 512, (8, 1_024)


def count(world: World) -> list[dict[str, Any]]:
    """Return a rank's figures and the plan's at each ZeRO stage."""
    return [count_stage(world, stage) for stage in STAGES]


def count_stage(world: World, stage: int) -> dict[str, Any]:
    recipe = recipe_of("bf16", "adamw", stage, recomputes=False)
    plan = Cost(recipe, HARDWARE["cpu"], VOCABULARY)
    model = BertForPreTraining(recipe.model, VOCABULARY, "nsp")
    with Traffic() as start:
        engine = Engine(model, recipe.optimizer, recipe.train, world)
    for _ in range(2):  # the first step allocates what the later steps reuse
        with Traffic() as step:
            for micro_step in range(MICRO_STEPS):
                mlm_loss, nsp_loss, *_ = engine.forward(full_rows())
                engine.backward((mlm_loss + nsp_loss) * 1e-6, last=micro_step == MICRO_STEPS - 1)
            assert not engine.step(1e-4).skipped
    saved = sum(fragment.numel for fragment in engine.partition.saved)
    weights = sum(math.prod(shape) for shape in engine.shapes.values())
    del engine, model, mlm_loss, nsp_loss
    return {
        "start": start.calls,
        "step": step.calls,
        "sent": step.sent_bytes(world.world_size),
        "planned_sent": plan.sent_bytes(world.world_size, MICRO_STEPS),
        "memory": peak_bytes(recipe, world),
        "planned_memory": plan.memory(world.world_size, ROWS).total_gib * GIB,
        "saved_share": saved * world.world_size / weights,
    }


@cache
def counted(ranks: int) -> list[dict[str, Any]]:
    """Return the figures of one rank of this number, by ZeRO stage."""
    found: list[dict[str, Any]] = fake_ranks.run(count, ranks // 3, ranks)
    return found


# Not stage 1 on 512 ranks: its shares are aligned, which adds more than 2 % to what so small a model sends.
PLANNED = [(ranks, stage) for ranks in WORLD_SIZES for stage in STAGES if (ranks, stage) != (512, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "stage"), PLANNED)
def test_a_rank_takes_and_sends_what_is_planned(ranks: int, stage: int) -> None:
    found = counted(ranks)[stage]
    assert found["planned_memory"] == pytest.approx(found["memory"], rel=BOUNDS["memory"])
    assert found["planned_sent"] == pytest.approx(found["sent"], rel=BOUNDS["sent"])


@pytest.mark.parametrize("ranks", WORLD_SIZES)
def test_ranks_take_different_rows_and_almost_equal_numbers_of_tokens(tmp_path: Path, ranks: int) -> None:
    dataset = Dataset(str(tmp_path), write_dataset(tmp_path, [[3_000, 3_000]], full_share=0.5))
    rows, tokens, batches = 8 * 512, [], set()
    for rank in range(ranks):
        loader = Loader([dataset], seed=5, shuffle_window_rows=6_000, rank=rank, world_size=ranks, micro_batch_size=4)
        step = loader.step(0, rows)
        assert {len(batch) for batch in step.batches} == {4}
        assert len(step.batches) == rows // ranks // 4
        tokens.append(sum(len(batch.input_ids) for batch in step.batches))
        batches |= {(shard, row) for shards, places in step.origins for shard, row in zip(shards, places, strict=True)}
    assert len(batches) == rows
    assert sum(tokens) == step.tokens
    assert max(tokens) / np.mean(tokens) - 1 == pytest.approx(step.imbalance_pct / 100)
    assert step.imbalance_pct < 2


def element(kind: str, fragment: Fragment) -> torch.Tensor:
    """Return what the test saves at a fragment's elements: they depend on the parameter, the kind and the offset."""
    first = 1_000 * KINDS.index(kind) + len(fragment.name) + fragment.offset
    return torch.arange(first, first + fragment.numel, dtype=torch.float32)


def engines(ranks: list[int], world_size: int) -> Iterator[Engine]:
    """Yield the small model's engine at stage 1 as each of these ranks."""
    for rank in ranks:
        yield small.engine_of(World(rank, rank % fake_ranks.PER_NODE, world_size, fake_ranks.PER_NODE), 1, "bf16")


def save_as_all(world: World, folder: str) -> None:
    """Save a checkpoint, one rank after another."""
    place = Path(folder)
    place.mkdir()
    entries = []
    for rank, engine in enumerate(engines(list(range(world.world_size)), world.world_size)):
        for fragment in engine.partition.saved:
            for kind in KINDS:
                getattr(fragment, kind).copy_(element(kind, fragment))
        path = place / f"rank_{rank:05d}.safetensors"
        entries.append(FileEntry.model_validate(saving._write(path, engine.partition.saved)))
    state = TrainingState(step=7, cursor=70, files=entries).model_copy(update=saving._description(engine))
    (place / STATE).write_text(state_text(state))


def load_as_some(world: World, folder: str) -> int:
    """Load the checkpoint as some of the ranks, with the usual limit on open files; return the number of elements."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 1_024))
    last = world.world_size - 1
    checked = 0
    for engine in engines([0, 1, world.world_size // 2, last], world.world_size):
        state = load_checkpoint(Path(folder), engine)
        assert (state.step, state.world_size) == (7, SAVED_BY)
        for fragment in engine.partition.fragments:
            for kind in KINDS:
                assert torch.equal(getattr(fragment, kind), element(kind, fragment)), (kind, fragment.name)
                checked += fragment.numel
    return checked


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "step_00000007"
    folder.parent.mkdir()
    fake_ranks.run(save_as_all, 0, SAVED_BY, str(folder))
    return folder


@pytest.mark.slow
def test_a_checkpoint_of_512_ranks_has_a_file_per_rank_and_each_element_once(checkpoint: Path) -> None:
    files = sorted(checkpoint.glob("rank_*.safetensors"))
    assert [file.name for file in files] == [f"rank_{rank:05d}.safetensors" for rank in range(SAVED_BY)]
    elements = sum(parameter.numel() for parameter in small.build().parameters())
    headers = 1_024 * SAVED_BY
    assert 12 * elements <= sum(file.stat().st_size for file in files) <= 12 * elements + headers
    assert (checkpoint / STATE).stat().st_size < 200 * SAVED_BY


@pytest.mark.slow
@pytest.mark.parametrize("ranks", READ_BY)
def test_other_numbers_of_ranks_read_it(checkpoint: Path, ranks: int) -> None:
    assert fake_ranks.run(load_as_some, 0, ranks, str(checkpoint)) > 0
