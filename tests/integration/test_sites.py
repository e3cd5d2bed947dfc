"""Sites differ: few open files, variables that other launchers leave, IPv6, and Slurm's client without a cluster."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from pathlib import Path

import pytest

from pretrain.telemetry import read_metrics
from tests.distributed.ranks import free_port
from tests.integration.small import command, corpus, environment, write_small

pytestmark = pytest.mark.slow  # a minute together: .ci/run names this file
FEW = ("train.steps=4", "train.zero_stage=1", "checkpoint.every_steps=100", "optimizer.warmup_steps=1")
ONE_RANK = ("cluster.ranks_per_node=1", "train.precision=fp32", *FEW)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its data set of many shards."""
    folder = tmp_path_factory.mktemp("sites")
    write_small(folder)
    (folder / "corpus.txt").write_text(corpus(1_600))
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(recipe.replace("dupe_factor = 2", "dupe_factor = 4\ngroup_bytes = 1000"))
    run(folder, {}, "prepare", "recipe.toml", "data.workers=1")
    return folder


def run(folder: Path, env: dict[str, str], *arguments: str, descriptors: int = 0) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    ended = subprocess.run(
        command(*arguments), cwd=folder, env=environment() | env, capture_output=True, text=True, timeout=300,
        preexec_fn=limit, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_a_run_needs_few_open_files(work: Path) -> None:
    assert len(list((work / "dataset" / "shards").iterdir())) > 150
    run(work, {}, "train", "recipe.toml", "name=few", *ONE_RANK, "train.evaluate_every_steps=2", descriptors=96)
    assert len([one for one in read_metrics(work / "runs/few") if "loss" in one]) == 4


def test_counts_of_machines_that_another_launcher_left_are_not_ranks(work: Path) -> None:
    left = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    run(work, left, "train", "recipe.toml", "name=left", *ONE_RANK)
    assert len(read_metrics(work / "runs/left")) == 4
    run(work, left, "evaluate", "runs/left")


def test_machines_meet_at_an_ipv6_address(work: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    place = f"[::1]:{free_port()}"
    starts = [
        subprocess.Popen(
            command("train", "recipe.toml", "name=six", *ONE_RANK, "--nnodes", "2", "--node-rank", number,
                    "--rendezvous", place),
            cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in "01"
    ]  # fmt: skip
    said = [start.communicate(timeout=300)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert "8 rows per step" in said[0] or "2 rank(s)" in said[0]


def test_a_local_run_does_not_ask_slurm(work: Path, tmp_path: Path) -> None:
    """Slurm's client can be installed where there is no cluster, and then complains at each call."""
    for name in ("squeue", "sinfo"):
        (tmp_path / name).write_text("#!/bin/sh\necho slurm_load_jobs error: no cluster >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run(work, env, "train", "recipe.toml", "name=alone", *ONE_RANK)
    assert run(work, env, "status", "runs/alone").stderr == ""
    (work / "runs/alone/submit.sbatch").touch()
    assert "could not read Slurm's queue" in run(work, env, "status", "runs/alone").stderr
