"""`[cluster]`: values that must not reach a script or an argv."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import UserError
from configs.recipe import load_recipe, resolved_toml, write_recipe
from configs.schema import ClusterConfig


@pytest.mark.parametrize(
    ("override", "cause"),
    [
        ('cluster.partition="gpu\\n#SBATCH --uid=0"', "partition"),
        ('cluster.partition="--uid=0"', "partition"),
        ('cluster.account="a; rm -rf ~"', "account"),
        ('cluster.qos="$(id)"', "qos"),
        ('cluster.constraint="h100 --uid=0"', "constraint"),
        ('cluster.setup=["a\\nb"]', "setup"),
        ('cluster.python="/usr/bin/python\\n"', "python"),
        ('cluster.environment=["A=b"]', "environment"),
        ('cluster.sbatch_options=["-p gpu"]', "sbatch_options"),
        ('cluster.sbatch_options=["--mail-type=END\\n#SBATCH --uid=0"]', "sbatch_options"),
        ('cluster.sbatch_options=["--no-req"]', "--no-req is set by bertrain"),
        ('cluster.sbatch_options=["--export=ALL"]', "--export is set by bertrain"),
        ("cluster.time_limit_min=5", "stop_before_limit_s 300 is not below"),
    ],
)
def test_unsafe_value_is_refused_with_its_place(override: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        load_recipe("demo", [override])


def test_values_that_clusters_need_are_accepted_and_read_back(tmp_path: Path) -> None:
    overrides = [
        'cluster.partition="gpu,gpu-long"',
        'cluster.constraint="h100&ib|[rack1*2]"',
        'cluster.setup=["module load cuda/12.4 && source /venv/bin/activate"]',
        'cluster.container=["apptainer", "exec", "--nv", "/images/it\'s \\"bert\\".sif"]',
        'cluster.sbatch_options=["--mail-type=END", "--exclusive"]',
        'cluster.srun_options=["--container-mounts=/data:/data"]',
    ]
    recipe = load_recipe("demo", overrides)
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    assert "# Slurm: required node features" in resolved_toml(recipe)


@pytest.mark.parametrize("key", ["sbatch_options", "srun_options"])
@pytest.mark.parametrize("option", ["--ntasks=2", "--export=NONE", "--nodes=3", "--ntask=1", "--output=x", "--time=5"])
def test_options_that_bertrain_sets_are_refused_for_both_commands(key: str, option: str) -> None:
    with pytest.raises(ValidationError, match="is set by bertrain"):
        ClusterConfig.model_validate({key: [option]})
