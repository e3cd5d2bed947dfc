"""Runs as jobs of a real Slurm, whose ranks have a stand-in for the model (see stand_in/)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.recipe import load_recipe, shipped_recipes
from launch.cluster import batch_script, slurm
from launch.doctor import doctor
from launch.ranks import run_folder, starts
from preprocessing.vocabulary.training import train_vocabulary
from tests.distributed.slurm_cluster import INSTALL, PATIENCE_S, SlurmCluster, missing_program
from tests.preprocessing.corpora import make_documents, small_config, write_text
from tests.processes import started_with, wait_until

pytestmark = pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}")
STAND_IN = Path(__file__).parent / "stand_in"
EXAMPLES = Path(slurm.__file__).parent / "examples"
TWO_NODES = ["cluster.nodes=2", "cluster.ranks_per_node=1", "cluster.device=cpu", 'cluster.environment=["PYTHONPATH"]']


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster(3) as running:
        yield running


@pytest.fixture
def cluster(shared_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The module's cluster, idle, which `launch.cluster.slurm` finds like a user's cluster."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, shared_cluster.env[name])
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    yield shared_cluster
    shared_cluster.cancel_all()


def make_run(folder: Path, steps: int, step_s: float, *overrides: str) -> Path:
    recipe = load_recipe("demo", [f"runs={json.dumps(str(folder / 'runs'))}", *TWO_NODES, *overrides])
    with run_folder.open_run(recipe) as run:
        (run / "stand_in.json").write_text(json.dumps([steps, step_s]))
        batch_script.write(batch_script.render(recipe, run, batch_script.Site(run.parent.parent, sys.executable)), run)
    return run


def steps_of(run: Path) -> list[int]:
    file = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


def log_of(run: Path) -> str:
    file = run / "logs" / "slurm.log"
    return file.read_text() if file.exists() else "no log"


def wait_for_step(run: Path, step: int) -> None:
    wait_until(lambda: step in steps_of(run), PATIENCE_S, f"step {step} in\n{log_of(run)}")


def test_job_runs_one_rank_per_task_and_is_isolated(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / """a; b $(touch pwned) `id` "c", 'd' -e #f %j"""
    hostile.mkdir()
    monkeypatch.setenv("HF_TOKEN", "a secret")
    monkeypatch.setenv("WANTED", value := """-; $(touch pwned) `id`\n, "c" 'd' %j""")
    setup = 'cluster.setup=["env >seen.txt; umask >>seen.txt", "printf %s \\"$WANTED\\" >wanted.txt"]'
    run = make_run(hostile, 3, 0.01, setup, 'cluster.environment=["PYTHONPATH", "WANTED"]')
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    assert steps_of(run) == [1, 2, 3]
    assert "rank 0 of 2, local 0/1" in (run / "logs/rank_00000.log").read_text()
    assert "rank 1 of 2, local 0/1" in (run / "logs/rank_00001.log").read_text()
    assert starts.read_verdict(run, 1) == starts.Verdict(0, False, "done")
    assert sorted(file.name for file in hostile.iterdir()) == ["runs", "seen.txt", "wanted.txt"]
    assert (hostile / "wanted.txt").read_text() == value
    seen = (hostile / "seen.txt").read_text()
    assert "secret" not in seen
    assert seen.endswith("0077\n")
    assert (run / "logs/rank_00000.log").stat().st_mode & 0o077 == 0


def test_warning_before_the_time_limit_requeues_the_job(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 40, 0.1)
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    wait_for_step(run, 3)
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # as Slurm does before the limit
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    assert steps_of(run) == list(range(1, 41))  # the last step was saved, so no step is repeated
    assert [start.is_first for start in starts.read_starts(run)] == [True, False]
    assert starts.read_verdict(run, 1) == starts.Verdict(75, True, "stopped with a checkpoint")


def test_crashed_rank_restarts_on_other_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 6, 0.05)
    (run / "fault").write_text("4 1 raise")
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    first, second = starts.read_starts(run)
    verdict = starts.read_verdict(run, 1)
    assert verdict is not None
    assert verdict.reason == "rank 1 on n2: RuntimeError: CUDA error: uncorrectable ECC error encountered"
    assert (first.nodes, second.nodes) == (["n1", "n2"], ["n1", "n3"])
    assert cluster.field(job, "Restarts") == "1"


def test_stop_saves_and_does_not_requeue(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 400, 0.1)
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    wait_for_step(run, 2)
    jobs = slurm.jobs_of(run, slurm.queued_jobs())
    assert [one.id for one in jobs] == [job]
    slurm.stop_jobs(run, jobs)
    assert cluster.wait(job) == "FAILED", log_of(run)  # so that dependent jobs do not start
    assert starts.newest_step(run) == steps_of(run)[-1]
    assert starts.read_verdict(run, 1) == starts.Verdict(75, False, "stopped on request; submit it again to resume")
    assert slurm.jobs_of(run, slurm.queued_jobs()) == []


def test_doctor_checks_every_node(cluster: SlurmCluster, tmp_path: Path) -> None:
    nodes = doctor.examine_nodes(load_recipe("demo", TWO_NODES), tmp_path)
    assert sorted(node.name for node in nodes) == ["n1", "n2"]
    assert doctor.node_differences(nodes) == []  # both nodes are this machine
    network = [node.findings[-1] for node in nodes]
    assert [(one.name, one.level, one.found) for one in network] == [("network", "ok", "2 nodes")] * 2
    assert sum(one.measured.endswith("GB/s per rank") for one in network) == 1
    assert not list(tmp_path.iterdir())


def test_slurm_accepts_every_example_script() -> None:
    """The largest shipped recipe needs eight nodes with eight GPUs each."""
    scripts = sorted(EXAMPLES.glob("*.sbatch"))
    assert {f"{name}.sbatch" for name in shipped_recipes()} <= {script.name for script in scripts}
    with SlurmCluster(8, gpus=8) as large:
        for script in scripts:
            large.run("sbatch", "--test-only", str(script))


@pytest.mark.slow
def test_cancelled_job_stays_cancelled(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 400, 0.1)
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    wait_for_step(run, 2)
    cluster.run("scancel", job)
    assert cluster.wait(job) == "CANCELLED"
    assert starts.newest_step(run) == steps_of(run)[-1], log_of(run)  # there was still time to save
    assert cluster.field(job, "Restarts") == "0"


@pytest.mark.slow
def test_requeue_by_hand_saves_first(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 40, 0.1)
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    wait_for_step(run, 3)
    cluster.run("scontrol", "requeue", job)
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    assert steps_of(run) == list(range(1, 41))
    assert cluster.field(job, "Restarts") == "1"


@pytest.mark.slow
def test_user_error_of_all_ranks_is_not_retried(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 6, 0.05)
    (run / "fault").write_text("always 1 all 2")
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    assert cluster.wait(job) == "FAILED", log_of(run)
    assert cluster.field(job, "ExitCode") == "2:0"
    assert starts.read_verdict(run, 1) == starts.Verdict(2, False, "error: the data set does not fit")


@pytest.mark.slow
def test_job_that_always_fails_gives_up_and_says_why(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 6, 0.05, "cluster.max_restarts=1")
    (run / "fault").write_text("always 1 0 kill")
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    assert cluster.wait(job) == "FAILED", log_of(run)
    assert cluster.field(job, "Restarts") == "1"
    assert "2 starts in a row saved no new checkpoint" in log_of(run)
    first = starts.read_verdict(run, 1)
    assert first is not None
    assert first.without_node == "n1"


@pytest.mark.slow
@pytest.mark.parametrize("group_bytes", [20_000, 10_000_000])
def test_preparation_requeues_if_it_made_progress(cluster: SlurmCluster, tmp_path: Path, group_bytes: int) -> None:
    """Slurm warns of the time limit after some groups are finished, or before the only group is."""
    corpus, dataset = write_text(tmp_path / "corpus.txt", make_documents(1500)), tmp_path / "dataset"
    vocabulary = tmp_path / "vocab.txt"
    train_vocabulary([corpus.read_text()], small_config(dataset, corpus).vocabulary).write(vocabulary)
    (tmp_path / "recipe.toml").write_text(
        f'base = "demo"\nruns = "{tmp_path}/runs"\n[data]\ndataset = "{dataset}"\ngroup_bytes = {group_bytes}\n'
        f'dupe_factor = 30\nduplicates = "none"\nworkers = 1\n[data.vocabulary]\nfile = "{vocabulary}"\n'
        f'[[data.corpora]]\npaths = ["{corpus}"]\nformat = "text"\n'
    )
    recipe = load_recipe(tmp_path / "recipe.toml")
    with run_folder.open_run(recipe) as run:
        text = batch_script.render(recipe, run, batch_script.Site(tmp_path, sys.executable), batch_script.PREPARE)
        job = slurm.submit_script(batch_script.write(text, run, batch_script.PREPARE))
    begun = "groups/0*" if group_bytes < 1_000_000 else ".prepare/*/*.progress"
    wait_until(lambda: list(dataset.glob(begun)), PATIENCE_S, begun)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    ended, log = cluster.wait(job), (run / "logs/prepare.log").read_text()
    if group_bytes < 1_000_000:
        assert (ended, cluster.field(job, "Restarts")) == ("COMPLETED", "1"), log
        assert (dataset / "manifest.json").exists()
    else:
        assert (ended, cluster.field(job, "Restarts")) == ("FAILED", "0"), log
        assert "this start finished no part of the work: raise cluster.time_limit_min" in log


@pytest.mark.slow
def test_a_killed_task_of_a_preparation_does_not_cancel_the_chain(cluster: SlurmCluster, tmp_path: Path) -> None:
    """SIGKILL as for memory. The next start resumes, and the job that waits for it starts.

    The last task, whose job id is that of the whole array, is killed while the other one runs.
    """
    corpus, dataset = write_text(tmp_path / "corpus.txt", make_documents(1500)), tmp_path / "dataset"
    vocabulary = tmp_path / "vocab.txt"
    train_vocabulary([corpus.read_text()], small_config(dataset, corpus).vocabulary).write(vocabulary)
    (tmp_path / "recipe.toml").write_text(
        f'base = "demo"\nruns = "{tmp_path}/runs"\n[data]\ndataset = "{dataset}"\ngroup_bytes = 20000\n'
        f'dupe_factor = 30\nworkers = 1\n[data.vocabulary]\nfile = "{vocabulary}"\n'
        f'[[data.corpora]]\npaths = ["{corpus}"]\nformat = "text"\n'
    )
    recipe = load_recipe(tmp_path / "recipe.toml")
    with run_folder.open_run(recipe) as run:
        site = batch_script.Site(tmp_path, sys.executable)
        text = batch_script.render(recipe, run, site, batch_script.PREPARE, shares=2)
        array = slurm.submit_script(batch_script.write(text, run, batch_script.PREPARE))
    (tmp_path / "after.sh").write_text(f"#!/bin/bash\n#SBATCH --output={tmp_path}/after.log\ntrue\n")
    after = slurm.submit_script(tmp_path / "after.sh", [array])
    wait_until(lambda: list(dataset.glob("groups/0*")), PATIENCE_S, "a group")
    (last,) = [
        process
        for process in started_with(f"SLURM_CONF={cluster.env['SLURM_CONF']}")
        if "launch.cli" in process.cmdline() and "2/2" in process.cmdline()
    ]
    last.kill()
    assert cluster.wait(after) == "COMPLETED"
    assert (dataset / "manifest.json").exists()


@pytest.mark.slow
def test_preempted_job_is_requeued(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 40, 0.1)
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    wait_for_step(run, 3)
    script = tmp_path / "urgent.sh"
    script.write_text("#!/bin/bash\nsleep 1\n")
    urgent = cluster.submit(script, "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null")
    assert cluster.wait(urgent) == "COMPLETED"
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    assert steps_of(run) == list(range(1, 41))


@pytest.mark.slow
def test_killed_node_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SlurmCluster(3) as cluster:
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, cluster.env[name])
        monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
        run = make_run(tmp_path, 400, 0.1)
        job = slurm.submit_script(run / batch_script.TRAIN.script)
        wait_for_step(run, 3)
        cluster.kill_node("n2")
        wait_until(lambda: cluster.field(job, "Restarts") == "1", PATIENCE_S, "the requeue")
        wait_until(lambda: len(starts.read_starts(run)) == 2, PATIENCE_S, f"the second start: {log_of(run)}")
        assert starts.read_starts(run)[1].nodes == ["n1", "n3"]


@pytest.mark.slow
def test_job_longer_than_its_time_limit_is_done_in_several_starts(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = make_run(tmp_path, 220, 0.5, "cluster.time_limit_min=1", "cluster.stop_before_limit_s=30")
    job = slurm.submit_script(run / batch_script.TRAIN.script)
    assert cluster.wait(job, timeout_s=400) == "COMPLETED", log_of(run)
    assert steps_of(run) == list(range(1, 221))
    assert int(cluster.field(job, "Restarts")) >= 2
