"""The cores of a job's ranks on a real Slurm that binds tasks to cores, as sites configure it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.recipe import load_recipe
from launch.cluster import batch_script, slurm
from launch.ranks import run_folder
from tests.distributed.slurm_cluster import INSTALL, SlurmCluster, missing_program
from tests.distributed.test_slurm import STAND_IN, log_of

pytestmark = [
    pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores"),
]
BASE = ("cluster.device=cpu", 'cluster.environment=["PYTHONPATH"]', 'cluster.setup=["nproc >cores.txt"]')
BOUND = 'cluster.srun_options=["--cpu-bind=cores"]'


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    """One node of two cores, which `launch.cluster.slurm` finds like a user's cluster."""
    with SlurmCluster(1, task_plugin="task/affinity") as running, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, running.env[name])
        patch.setenv("PYTHONPATH", str(STAND_IN))
        yield running


def submit(folder: Path, stage: batch_script.JobStage, *overrides: str) -> tuple[Path, str]:
    """Submit one stage of a run in `folder` as `bertrain submit` does; return the run and the job's id."""
    recipe = load_recipe("demo", [f"runs={json.dumps(str(folder / 'runs'))}", *BASE, *overrides])
    with run_folder.open_run(recipe) as run:
        (run / "stand_in.json").write_text(json.dumps([1, 0.0]))
        site = batch_script.Site(folder, sys.executable, ())
        cores = slurm.node_cores(recipe.cluster)
        batch_script.write(batch_script.render(recipe, run, site, stage, cores=cores), run, stage)
    return run, slurm.submit_script(run / stage.script)


@pytest.mark.parametrize(
    ("settings", "ranks", "seen"),
    [
        (("cluster.ranks_per_node=1", "cluster.cpu_threads=2", BOUND), 1, "2 cores, 2 threads"),
        (("cluster.ranks_per_node=1", "cluster.cpu_threads=2"), 1, "2 cores, 2 threads"),
        (("cluster.ranks_per_node=1",), 1, "2 cores, 2 threads"),
        (("cluster.ranks_per_node=2", BOUND), 2, "1 cores, 1 threads"),
    ],
)
def test_a_rank_has_the_cores_that_the_job_was_given(
    cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...], ranks: int, seen: str
) -> None:
    run, job = submit(tmp_path, batch_script.TRAIN, *settings)
    assert cluster.wait(job) == "COMPLETED", log_of(run)
    for rank in range(ranks):
        assert seen in (run / f"logs/rank_{rank:05}.log").read_text().splitlines()


def test_a_preparation_has_the_cores_of_its_node(cluster: SlurmCluster, tmp_path: Path) -> None:
    _, job = submit(tmp_path, batch_script.PREPARE, "cluster.ranks_per_node=1", "data.corpora=[]")
    cluster.wait(job)
    assert (tmp_path / "cores.txt").read_text() == "2\n"


def test_the_cores_of_a_node_are_those_of_the_partition(cluster: SlurmCluster) -> None:
    def cores(*overrides: str) -> int:
        return slurm.node_cores(load_recipe("demo", overrides).cluster)

    assert cores() == cores("cluster.partition=urgent") == 2
    assert cores("cluster.partition=none") == 0
