from __future__ import annotations

import socket

import pytest

from configs.errors import UserError
from launch.ranks.rank_address import (
    LOOPBACK,
    RankAddress,
    accepting,
    can_connect,
    expand_counts,
    own_addresses,
    slurm_address,
)

TASK = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "20000",
}


def test_slurm_task_becomes_torchruns_variables() -> None:
    place = slurm_address(TASK)
    assert place == RankAddress(5, 1, 6, 2, "127.0.0.1", 20_000)
    assert place.variables({}) == {
        "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "20000", "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "=lo",
    }  # fmt: skip


def test_a_sites_interface_for_nccl_is_left_as_it_is() -> None:
    variables = slurm_address(TASK).variables({"NCCL_SOCKET_IFNAME": "ib0,ib1"})
    assert "NCCL_SOCKET_IFNAME" not in variables
    assert variables["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize("name", sorted(TASK))
def test_missing_variable_is_named(name: str) -> None:
    with pytest.raises(UserError, match=name):
        slurm_address({key: value for key, value in TASK.items() if key != name})


@pytest.mark.parametrize(("text", "counts"), [("2", [2]), ("2(x3),1", [2, 2, 2, 1]), ("1,2(x2)", [1, 2, 2])])
def test_expand_counts_parses_slurms_counts(text: str, counts: list[int]) -> None:
    assert expand_counts(text) == counts


def test_loopback_is_the_last_address() -> None:
    addresses = own_addresses()
    assert addresses[-1].startswith("127.")
    assert not can_connect("127.0.0.1", 1)


def test_more_connections_than_the_kernel_queues_are_accepted() -> None:
    """Each rank tries each address of rank 0: the queue of `listen(2)` is full after three of these connections."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port = listener.getsockname()[1]
        with accepting(listener):
            assert all(can_connect(LOOPBACK, port) for _ in range(5_000))
        assert not can_connect(LOOPBACK, port)
    with socket.socket() as rendezvous:
        rendezvous.bind((LOOPBACK, port))  # no connection is left in TIME_WAIT, where it would hold the port
