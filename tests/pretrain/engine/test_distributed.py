from __future__ import annotations

import os
import time

import pytest
import torch
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import ClusterConfig
from pretrain.engine import distributed
from pretrain.engine.distributed import (
    TORCHRUN,
    World,
    any_flag_and_first_values,
    discover,
    gather,
    is_true_on_any_rank,
    rank_and_size,
    seed_for,
)
from tests.distributed import ranks, small

ENVIRONMENT = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "1234",
}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_a_world_of_one_without_a_launcher() -> None:
    assert discover() == World(rank=0, local_rank=0, world_size=1, local_world_size=1, device=torch.device("cpu"))


def test_ranks_are_read_from_torchruns_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert discover() == World(rank=5, local_rank=1, world_size=8, local_world_size=4)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"MASTER_PORT": None}, "MASTER_PORT not set"),
        ({"RANK": None, "LOCAL_RANK": None}, "RANK, LOCAL_RANK not set"),
        ({"RANK": "five"}, "invalid literal"),
        ({"RANK": "8"}, "rank 8 of 8"),
        ({"LOCAL_RANK": "4"}, "4 of 4 on its node"),
        ({"LOCAL_WORLD_SIZE": "9"}, "1 of 9 on its node"),
    ],
)
def test_incomplete_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], cause: str
) -> None:
    for name, value in (ENVIRONMENT | change).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=cause):
        discover()


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that must not be there")
def test_missing_gpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"cluster\.device: torch finds no usable GPU"):
        distributed.join_process_group(ClusterConfig(device="cuda"))


def test_collectives_return_the_own_value_without_a_process_group() -> None:
    assert is_true_on_any_rank(True) is True
    assert is_true_on_any_rank(False) is False
    assert any_flag_and_first_values(True, 2.5, 1) == (True, [2.5, 1])
    assert gather("a") == ["a"]
    assert rank_and_size() == (0, 1)
    distributed.leave_process_group()  # nothing to leave


@given(st.tuples(*[st.integers(0, 40)] * 4), st.tuples(*[st.integers(0, 40)] * 4))
def test_seeds_differ_exactly_when_their_keys_do(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    assert (seed_for(*one) == seed_for(*other)) == (one == other)
    assert 0 <= seed_for(*one) < 2**63


def test_a_seed_is_the_same_in_every_process_and_version() -> None:
    assert seed_for(42, 1, 0, 3) == 3_716_672_514_947_128_417  # resumes of old runs hang on it


def _agree() -> list[object]:
    world = distributed.join_process_group(ClusterConfig(device="cpu", cpu_threads=0))
    return [
        is_true_on_any_rank(world.rank == 1),
        is_true_on_any_rank(False),
        any_flag_and_first_values(world.rank == 1, 0.5 + world.rank),
        any_flag_and_first_values(False, 0.0),
        gather(world.rank * 10),
        rank_and_size(),
        torch.get_num_threads(),
        os.environ["MASTER_ADDR"],
    ]


def test_two_ranks_agree_and_share_the_cores() -> None:
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    first, second = ranks.run(_agree, 2, quiet=True)
    assert first == [True, False, [True, [0.5]], [False, [0.0]], [0, 10], [0, 2], threads, "127.0.0.1"]
    assert second == [True, False, [True, [0.5]], [False, [0.0]], [0, 10], [1, 2], threads, "127.0.0.1"]


def _train_with_a_late_rank() -> None:
    world = small.join(collective_timeout_s=5)
    engine = small.engine_of(world, 2, "fp32")
    small.train_step(engine, 1)
    if world.rank == 1:
        time.sleep(1_000)
    small.train_step(engine, 2)


def test_collective_times_out_when_a_rank_does_not_join() -> None:
    with pytest.raises(ranks.RankError, match="Timed out waiting 5000ms") as failure:
        ranks.run(_train_with_a_late_rank, 2, timeout_s=300)
    assert failure.value.exit_codes == [1, None]
