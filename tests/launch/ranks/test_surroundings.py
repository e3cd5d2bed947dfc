"""Who has started the command: a launcher of ranks, a scheduler of machines, or nobody."""

from __future__ import annotations

import pytest

from configs.errors import UserError
from launch.ranks.local import ALONE, Nodes
from launch.ranks.rank_address import RankAddress
from launch.ranks.surroundings import is_rank, surrounding_nodes, task_of_srun

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
SECOND = Nodes(2, 1, "127.0.0.1", 29_511, "lo")  # of two machines
TWO_TASKS = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "n1",
}  # fmt: skip


def test_torchruns_ranks_are_told_from_counts_of_machines() -> None:
    assert is_rank({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    assert not is_rank({"RANK": "0", "WORLD_SIZE": "1"} | MEETING)


@pytest.mark.parametrize(
    ("env", "nodes"),
    [
        ({}, ALONE),
        ({"RANK": "0", "WORLD_SIZE": "1"} | MEETING, ALONE),  # left in the environment, or a job of one machine
        ({"RANK": "1", "WORLD_SIZE": "3"} | MEETING, Nodes(3, 1, "127.0.0.1", 29_511, "lo")),
        ({"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "::1", "MASTER_PORT": "5"}, Nodes(3, 1, "::1", 5, "lo")),
        (
            {"RANK": "8", "WORLD_SIZE": "16", "PET_NODE_RANK": "1", "PET_NNODES": "2"} | MEETING,
            Nodes(2, 1, "127.0.0.1", 29_511, "lo"),
        ),
        ({"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "0"} | MEETING, ALONE),  # a rank
        (TWO_TASKS, ALONE),  # ranks
        (
            TWO_TASKS | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_NODEID": "1"} | MEETING,
            Nodes(2, 1, "127.0.0.1", 29_511, "lo"),
        ),
    ],
)
def test_a_scheduler_of_machines(env: dict[str, str], nodes: Nodes) -> None:
    assert surrounding_nodes(env) == nodes


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"RANK": "1", "WORLD_SIZE": "3"}, "MASTER_ADDR, MASTER_PORT not set"),
        ({"RANK": "one", "WORLD_SIZE": "3"} | MEETING, "invalid literal"),
        ({"RANK": "3", "WORLD_SIZE": "3"} | MEETING, "nodes are numbered 0 to 2"),
    ],
)
def test_incomplete_variables_are_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        surrounding_nodes(env)


def test_several_tasks_of_srun_on_a_node_are_ranks() -> None:
    assert task_of_srun({}) is None
    assert task_of_srun(TWO_TASKS) == RankAddress(1, 1, 2, 2, "127.0.0.1", 27_003)
    four = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "3", "SLURM_NODEID": "1"}
    spread = TWO_TASKS | four | {"SLURM_STEP_NODELIST": "gpu[07-09,12]"}
    assert task_of_srun(spread) == RankAddress(3, 1, 4, 2, "gpu07", 27_003)
    assert task_of_srun(spread | MEETING) == RankAddress(3, 1, 4, 2, "127.0.0.1", 29_511)
    assert task_of_srun(TWO_TASKS | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}) is None  # a machine each
