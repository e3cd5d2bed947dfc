from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import ClusterConfig, Recipe
from launch.ranks import local
from launch.ranks.local import ALONE, Machine, nodes_at, plan_ranks, this_machine

LAPTOP = Machine(gpus=0, cores=8)
SERVER = Machine(gpus=4, cores=32)


def ranks(cluster: ClusterConfig, machine: Machine) -> int:
    return len(plan_ranks(Recipe(cluster=cluster), Path("run"), [], machine))


@pytest.mark.parametrize(
    ("cluster", "machine", "count"),
    [
        (ClusterConfig(), LAPTOP, 1),
        (ClusterConfig(), SERVER, 4),
        (ClusterConfig(device="cpu"), SERVER, 1),
        (ClusterConfig(device="cuda"), SERVER, 4),
        (ClusterConfig(ranks_per_node=2), LAPTOP, 2),
        (ClusterConfig(ranks_per_node=2), SERVER, 2),
        (ClusterConfig(ranks_per_node=6, device="cpu"), SERVER, 6),
    ],
)
def test_default_is_one_rank_per_gpu(cluster: ClusterConfig, machine: Machine, count: int) -> None:
    assert ranks(cluster, machine) == count


@pytest.mark.parametrize(
    ("cluster", "machine", "words"),
    [
        (ClusterConfig(device="cuda"), LAPTOP, "no GPU is visible"),
        (ClusterConfig(ranks_per_node=5), SERVER, r"5 ranks, but 4 GPU\(s\)"),
    ],
)
def test_missing_gpus_are_refused(cluster: ClusterConfig, machine: Machine, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ranks(cluster, machine)


def test_plan_ranks_leaves_the_sites_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    env = plan_ranks(Recipe(), Path("runs/a"), [], LAPTOP)[0].env
    assert not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "NCCL_SOCKET_IFNAME"} & env.keys()


def test_plan_ranks_sets_argv_log_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    first, second = plan_ranks(
        Recipe(cluster=ClusterConfig(ranks_per_node=2)), Path("runs/a b"), ["--resume", "auto"], LAPTOP
    )
    assert first.argv == (sys.executable, "-P", "-m", "pretrain", "runs/a b", "--resume", "auto")
    assert first.log == Path("runs/a b/logs/rank_00000.log")
    assert first.env == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "=lo",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "OMP_NUM_THREADS": "4",
        "PYTHONUNBUFFERED": "1",
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": "runs/a b/logs/nccl_trace_rank_",
    }
    assert (second.argv, second.env) == (first.argv, first.env | {"RANK": "1", "LOCAL_RANK": "1"})


def test_plan_ranks_on_the_second_of_three_machines() -> None:
    nodes = nodes_at("127.0.0.1:29500", 3, 1)
    recipe = Recipe(cluster=ClusterConfig(ranks_per_node=2))
    commands = plan_ranks(recipe, Path("run"), [], LAPTOP, nodes=nodes)
    assert [command.log.name for command in commands] == ["rank_00002.log", "rank_00003.log"]
    expected = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    assert commands[1].env.items() >= expected.items()
    assert nodes_at(None, 1, 0) == ALONE


@pytest.mark.parametrize(
    ("rendezvous", "number", "words"),
    [
        (None, 0, "is not HOST:PORT"),
        ("10.0.0.1", 0, "is not HOST:PORT"),
        ("-o ProxyCommand=x:22", 0, "is not HOST:PORT"),
        ("a;b:22", 0, "is not HOST:PORT"),
        ("node:99999", 0, "is not HOST:PORT"),
        ("node:22", 2, "nodes are numbered 0 to 1"),
    ],
)
def test_invalid_rendezvous_is_refused(rendezvous: str | None, number: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        nodes_at(rendezvous, 2, number)


@pytest.mark.parametrize(("threads", "ranks_per_node", "expected"), [(0, 3, "2"), (0, 20, "1"), (5, 3, "5")])
def test_threads_per_rank(threads: int, ranks_per_node: int, expected: str) -> None:
    cluster = ClusterConfig(cpu_threads=threads, ranks_per_node=ranks_per_node)
    assert plan_ranks(Recipe(cluster=cluster), Path("run"), [], LAPTOP)[0].env["OMP_NUM_THREADS"] == expected


def test_the_users_number_of_threads_holds_unless_the_recipe_states_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine = this_machine()
    assert machine.threads == 1
    for asked, expected in ((0, "1"), (3, "3")):
        recipe = Recipe(cluster=ClusterConfig(cpu_threads=asked, device="cpu"))
        assert plan_ranks(recipe, Path("run"), [], machine)[0].env["OMP_NUM_THREADS"] == expected


def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: 1)
    assert this_machine().cores == 1


def test_a_rendezvous_can_be_an_ipv6_address() -> None:
    nodes = nodes_at("[::1]:29500", 2, 0)
    assert (nodes.address, nodes.port, nodes.interface) == ("::1", 29_500, "lo")
    assert nodes_at("[fe80::1%eth0]:29500", 2, 1).address == "fe80::1%eth0"


@pytest.mark.parametrize("rendezvous", ["::1:29500", "[::1]", "[node]:29500", "[::1:29500"])
def test_an_ipv6_address_without_its_brackets_is_refused(rendezvous: str) -> None:
    with pytest.raises(UserError, match=r"is not HOST:PORT.*\[fd00::1\]:29500"):
        nodes_at(rendezvous, 2, 0)


def test_cores_respect_the_cpu_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert this_machine().cores == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_folder_named_like_a_package_does_not_shadow_it(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise SystemExit('shadowed')")
    argv = plan_ranks(Recipe(), tmp_path / "none", [], LAPTOP)[0].argv
    ended = subprocess.run([*argv, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


STORE = """
import os
from datetime import timedelta
from pretrain.engine.meeting import meet
rank, folder = int(os.environ["RANK"]), os.environ["BERTRAIN_RENDEZVOUS"]
assert os.stat(folder).st_mode & 0o777 == 0o700
store = meet(rank, 2, 2, None, timedelta(seconds=60))
store.set(str(rank), "here")
assert store.get(str(1 - rank)) == b"here"
print(folder)
"""


def test_ranks_of_one_machine_meet_in_a_private_folder_that_is_removed(tmp_path: Path) -> None:
    driver = """
        import sys
        from pathlib import Path
        from launch.ranks.local import run_ranks
        from launch.ranks.supervisor import RankCommand
        argv = (sys.executable, "-c", sys.argv[1])
        env = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        logs = Path(sys.argv[2])
        sys.exit(run_ranks([RankCommand(r, argv, env | {"RANK": str(r)}, logs / f"{r}.log") for r in range(2)]))
    """
    argv = [sys.executable, "-c", textwrap.dedent(driver), STORE, str(tmp_path / "logs")]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    (folder,) = {(tmp_path / f"logs/{rank}.log").read_text().strip() for rank in range(2)}
    assert not Path(folder).exists()
