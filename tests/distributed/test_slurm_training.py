"""The real thing: a tiny BERT prepared and trained by jobs of a real Slurm, beside mpirun and this machine alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch import starts
from tests.distributed.slurm_cluster import INSTALL, SlurmCluster, missing_program, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}"),
]
WORDS = ["river", "mountain", "stone", "house", "bird", "green", "blue", "runs", "sings", "falls", "over", "under"]
RECIPE = """
name = "slurm"
[data]
dataset = "datasets/tiny"
max_seq_length = 32
max_predictions_per_seq = 5
dupe_factor = 1
held_out_fraction = 0.1
corpora = [{ paths = ["corpus.txt"], format = "text" }]
vocabulary.size = 200
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 32
max_position_embeddings = 32
[optimizer]
warmup_steps = 2
[train]
steps = 60
global_batch_size = 8
micro_batch_size = 2
log_every_steps = 1
precision = "fp32"
[checkpoint]
every_steps = 1000
[cluster]
device = "cpu"
cpu_threads = 1
ranks_per_node = 1
nodes = 2
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a recipe and its corpus."""
    draw = random.Random(7)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(5, 12))).capitalize() + "." for _ in range(800)]
    documents = ["\n".join(sentences[start : start + 8]) for start in range(0, len(sentences), 8)]
    (tmp_path / "corpus.txt").write_text("\n\n".join(documents))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def bertrain(work: Path, env: dict[str, str], *arguments: str) -> str:
    argv = [sys.executable, "-m", "launch.cli", *arguments]
    done = subprocess.run(argv, cwd=work, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics(run: Path) -> list[dict[str, Any]]:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def losses(run: Path) -> list[tuple[int, str, float]]:
    return [(one["step"], one["rows"], one["loss"]) for one in metrics(run)]


def test_jobs_that_come_back_train_to_the_same_bits_as_this_machine(work: Path) -> None:
    run = work / "runs" / "slurm"
    with SlurmCluster(2) as cluster:
        told = bertrain(work, cluster.env, "submit", "tiny.toml", "--prepare").splitlines()
        assert [line.partition(":")[0] for line in told] == ["job 1", "job 2"]
        assert told[1].endswith("after job 1")
        wait_until(lambda: len(metrics(run)) >= 5, 200, "step 5")
        cluster.run("scancel", "--batch", "--signal=USR1", "2")
        assert cluster.wait("2", timeout_s=200) == "COMPLETED", (run / "logs/slurm.log").read_text()
    assert len(starts.read_starts(run)) == 2
    assert [step for step, _, _ in losses(run)] == list(range(1, 61))

    here = ["cluster.nodes=1", "cluster.ranks_per_node=2"]
    bertrain(work, dict(os.environ), "train", "tiny.toml", "name=here", *here)
    assert losses(run) == losses(work / "runs" / "here")
    if shutil.which("mpirun"):
        bertrain(work, dict(os.environ), "submit", "tiny.toml", "--to", "mpi", "name=mpi", *here)
        assert losses(run) == losses(work / "runs" / "mpi")
