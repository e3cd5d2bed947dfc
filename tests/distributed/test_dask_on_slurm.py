"""The example that prepares on a Slurm cluster through Dask, as a job of a real Slurm, with workers as further jobs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.recipe import write_recipe
from configs.schema import Recipe
from preprocessing.pipeline import prepare
from tests.distributed.slurm_cluster import INSTALL, SlurmCluster, missing_program
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

pytestmark = [
    pytest.mark.skipif(bool(missing_program()), reason=f"no {missing_program()}; install it with: {INSTALL}"),
    pytest.mark.slow,
]
EXAMPLE = Path(__file__).parents[2] / "launch" / "docs" / "examples" / "dask_on_slurm.py"


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster(2) as running:
        yield running


def test_two_jobs_of_dask_workers_make_the_same_bytes(tmp_path: Path, cluster: SlurmCluster) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(280))
    here = small_config(tmp_path / "here", corpus)
    prepare(here)
    there = here.model_copy(update={"dataset": str(tmp_path / "there")})
    write_recipe(Recipe.model_validate({"name": "there", "data": there.model_dump()}), tmp_path / "recipe.toml")
    script = tmp_path / "job.sh"
    words = [sys.executable, str(EXAMPLE), "recipe.toml", "--jobs", "2", "--memory", "1GB", "--walltime", "0:10:00"]
    script.write_text(f"#!/bin/bash\n{' '.join([*words, '--interface', 'lo'])}\n")
    log = tmp_path / "job.log"
    job = cluster.submit(script, f"--chdir={tmp_path}", f"--output={log}", "--time=10")
    assert cluster.wait(job, timeout_s=500) == "COMPLETED", log.read_text()
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert "is ready" in log.read_text()
    others = cluster.run("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%j")
    assert others == "", "the workers' jobs are cancelled"
