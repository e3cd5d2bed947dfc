from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from rich.console import Console

from configs.schema import ClusterConfig
from launch.doctor import bandwidth, checks, network_check
from launch.doctor.checks import pinned_versions
from launch.doctor.doctor import Node, examine, findings_table, lines, node_differences, parse
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.ranks.local import Machine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the bandwidth measurement, so that the doctor starts no ranks."""
    monkeypatch.setattr(network_check, "measure_here", lambda ranks, kind: 1.25)


def named(node: Node, name: str) -> Finding:
    return next(finding for finding in node.findings if finding.name == name)


def test_this_machine_has_no_errors(tmp_path: Path) -> None:
    node = examine(tmp_path, ClusterConfig(device="cpu"))
    assert [finding.name for finding in node.findings] == [
        "Python", "packages", "GPUs", "compiler", "memory", "shared memory", "disk", "locks", "clock", "Slurm", "MPI",
        "ranks",
    ]  # fmt: skip
    assert not [finding for finding in node.findings if finding.level == ERROR]
    assert not list(tmp_path.iterdir())


def test_a_missing_gpu_is_an_error_only_if_requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "this_machine", lambda: Machine(gpus=0, cores=2))
    assert named(examine(tmp_path, ClusterConfig(device="cuda")), "GPUs").level == ERROR
    assert named(examine(tmp_path, ClusterConfig(device="auto")), "GPUs").level == OK


@pytest.mark.parametrize(
    ("gpus", "cluster", "level"),
    [
        (0, ClusterConfig(gpus_per_node=8), WARNING),
        (0, ClusterConfig(gpus_per_node=8, device="cpu"), OK),
        (4, ClusterConfig(gpus_per_node=8), WARNING),
        (8, ClusterConfig(gpus_per_node=8), OK),
        (1, ClusterConfig(ranks_per_node=2), WARNING),
        (0, ClusterConfig(ranks_per_node=2), OK),  # two ranks on the CPU
    ],
)
def test_fewer_gpus_than_the_recipe_asks_for_are_a_warning(
    gpus: int, cluster: ClusterConfig, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "this_machine", lambda: Machine(gpus=gpus, cores=2))
    monkeypatch.setattr(checks, "_cuda_version", lambda: "13.0")
    found = checks.gpus(cluster)
    assert found.level == level
    assert ("asks for" in found.found) == (level == WARNING)


def test_folders_without_locks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lustre = tmp_path / "lustre"
    lustre.mkdir()

    def flock(stream: IO[str], kind: int) -> None:
        if "lustre" in stream.name:
            raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    found = named(examine(tmp_path, ClusterConfig(device="cpu"), [lustre / "dataset", tmp_path / "scratch"]), "locks")
    assert (found.level, str(lustre) in found.found, str(tmp_path / "scratch") in found.found) == (WARNING, True, False)
    assert named(examine(tmp_path, ClusterConfig(device="cpu")), "locks").level == OK


def test_missing_programs_are_named_with_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    node = examine(tmp_path, ClusterConfig(device="cpu"))
    compiler = named(node, "compiler")
    assert (compiler.level, compiler.fix) == (WARNING, "apt-get install g++")
    assert (named(node, "Slurm").found, named(node, "MPI").found) == ("none", "none")


def test_a_failing_program_is_a_warning_only_if_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's client without a cluster is no problem of this machine."""
    for name in ("sinfo", "mpirun"):
        (tmp_path / name).write_text("#!/bin/sh\necho one >&2\necho $(basename $0): fatal: no controller >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    node = examine(tmp_path, ClusterConfig(device="cpu"))
    found = "not in use: `sinfo --version` fails: fatal: no controller"
    assert named(node, "Slurm") == Finding("Slurm", OK, found)
    assert named(node, "MPI").level == OK
    needed = named(examine(tmp_path, ClusterConfig(device="cpu"), for_mpi=True), "MPI")
    assert (needed.level, needed.fix) == (WARNING, "run: mpirun --version")


def test_a_version_that_differs_from_the_pinned_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned_versions()["apache-beam"] == "2.77.0"
    monkeypatch.setattr(checks, "pinned_versions", lambda: {"psutil": "0.0.1", "torch": "0"})
    assert "(tested: 0.0.1)" in named(examine(tmp_path, ClusterConfig(device="cpu")), "packages").found
    monkeypatch.setattr(checks, "pinned_versions", lambda: {"psutil": "0.0.1"})
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0.1+cpu")
    assert named(examine(tmp_path, ClusterConfig(device="cpu")), "packages").level == OK


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(2**40, 2**40, 2**30))
    disk = named(examine(tmp_path / "runs" / "not there yet", ClusterConfig(device="cpu")), "disk")
    assert (disk.level, disk.found, disk.fix.partition(":")[0]) == (WARNING, str(tmp_path), "free some space")
    assert disk.measured.startswith("1 GiB free")


def test_an_unwritable_folder_is_an_error() -> None:
    assert named(examine(Path("/proc/runs"), ClusterConfig(device="cpu")), "disk").level == ERROR


def test_a_clock_that_differs_from_the_file_system_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() - 100)
    found = checks.clock(tmp_path)
    assert (found.level, found.found) == (WARNING, "100 s behind the file system's")
    assert not list(tmp_path.iterdir())


class TestSending:
    @pytest.mark.parametrize(
        ("machine", "device", "expected"),
        [
            (Machine(0, 2), "auto", Finding("ranks", OK, "2 on the CPU", measured="1.25 GB/s per rank")),
            (Machine(8, 2), "cpu", Finding("ranks", OK, "2 on the CPU", measured="1.25 GB/s per rank")),
            (Machine(8, 2), "auto", Finding("ranks", OK, "8 on GPUs", measured="1.25 GB/s per rank")),
            (Machine(1, 2), "cuda", Finding("ranks", OK, "one GPU; no communication to measure")),
        ],
    )
    def test_ranks_whose_bandwidth_is_measured(
        self, machine: Machine, device: str, expected: Finding, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network_check, "this_machine", lambda: machine)
        assert network_check.between_ranks(device) == expected

    def test_slow_ranks_are_a_warning_and_unreachable_ones_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(network_check, "measure_here", lambda ranks, kind: 0.01)
        assert network_check.between_ranks("cpu").level == WARNING
        monkeypatch.setattr(network_check, "measure_here", fail)
        found = network_check.between_ranks("cpu")
        assert (found.level, found.found) == (ERROR, "2 on the CPU cannot reach each other: NCCL error")

    def test_bandwidth_between_two_real_ranks(self) -> None:
        assert bandwidth.measure_here(2, "cpu") > 0.01

    def test_nodes_without_a_shared_folder_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bandwidth, "PATIENCE_S", 0.1)
        with pytest.raises(OSError, match=r"is not a folder shared by all nodes"):
            bandwidth.meet(tmp_path / "none" / "meeting", 1, 2)


def fail(ranks: int, kind: str) -> float:
    raise OSError("NCCL error")


def test_a_node_that_differs_is_named() -> None:
    def node(name: str, torch: str, clock: float = 0.0) -> Node:
        return Node(name, clock, [Finding("packages", OK, torch, measured=name)])

    alike = [node("n1", "torch 2.13"), node("n2", "torch 2.13"), node("n3", "torch 2.13")]
    assert node_differences(alike) == []
    found = node_differences([*alike, node("n4", "torch 2.11"), node("n5", "torch 2.13", clock=100.0)])
    assert [finding.found for finding in found] == [
        "n4 has torch 2.11, the others torch 2.13",
        "clocks are up to 100 s apart; n1 is the furthest behind",
    ]


def test_mixed_lines_of_srun_are_parsed() -> None:
    nodes = [
        Node(name, 1.5, [Finding("disk", OK, "a: b"), Finding("MPI", WARNING, "x", "fix")]) for name in ("n1", "n2")
    ]
    first, second = (list(lines(node)) for node in nodes)
    assert parse([first[0], second[0], second[1], first[1]]) == nodes


def test_findings_are_shown_with_their_fix() -> None:
    screen = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed with the process
    screen.print(findings_table([Finding("compiler", WARNING, "[none]", "apt-get install g++")]))
    assert "warning  compiler  [none]  apt-get install g++" in screen.export_text()


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun: apt-get install openmpi-bin")
def test_mpi_is_checked_with_real_ranks(tmp_path: Path) -> None:
    node = examine(tmp_path, ClusterConfig(device="cpu"), for_mpi=True)
    assert named(node, "MPI").level == OK
    assert "reach rank 0" in named(node, "ranks").found
    for python in ("/bin/false", "/none/python"):
        failing = named(examine(tmp_path, ClusterConfig(device="cpu", python=python), for_mpi=True), "ranks")
        assert (failing.level, failing.fix) == (ERROR, "correct cluster.python")
        assert "mpirun's ranks fail: " in failing.found


def test_a_missing_mpirun_is_an_error_only_for_mpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    node = examine(tmp_path, ClusterConfig(device="cpu"), for_mpi=True)
    assert named(node, "MPI").level == ERROR
    assert "apt-get install openmpi-bin" in named(node, "MPI").fix
    assert named(node, "ranks").level == ERROR
