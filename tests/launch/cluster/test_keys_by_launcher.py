"""Each key of `[cluster]` at each launcher: it is obeyed or refused, or its text names the launchers that obey it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import ClusterConfig, Recipe
from launch.cluster.batch_script import Site, render
from launch.cluster.launchers import TARGETS
from launch.cluster.mpi import mpirun_argv
from launch.display import check_environment, check_nodes, check_ranks, make_private
from launch.ranks.local import Machine, plan_ranks
from tests.structure import ROOT

RUN = Path("/home/you/runs/demo")
BASE = {"device": "cpu"}
TORCHRUN = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}

# How each launcher treats a key that is set to this value; `local` is also `bertrain train`, on one machine, on several
# and in the pods of Kubernetes; `torchrun` is also `srun -n 8 bertrain train`.
#   script     the batch script follows it        argv       mpirun's command follows it
#   ranks      the ranks' commands follow it      rank       each rank reads it from the run's recipe
#   umask      the command sets it                restarts   the verdict on a start reads it from the run's recipe
#   refused    UserError                          -          its text names the launchers that obey it
TABLE: dict[str, tuple[Any, str, str, str, str]] = {
    # key                   value             slurm     mpi         local      torchrun
    "nodes": (3, "script", "argv", "refused", "refused"),
    "spare_nodes": (2, "script", "-", "-", "-"),
    "ranks_per_node": (3, "script", "argv", "ranks", "refused"),
    "gpus_per_node": (4, "script", "argv", "-", "-"),
    "device": ("cuda", "rank", "rank", "rank", "rank"),
    "cpu_threads": (3, "script", "rank", "ranks", "rank"),
    "collective_timeout_s": (99, "rank", "rank", "rank", "rank"),
    "step_timeout_s": (77, "rank", "rank", "rank", "rank"),
    "partition": ("gpu", "script", "-", "-", "-"),
    "account": ("nlp@v100", "script", "-", "-", "-"),
    "qos": ("high", "script", "-", "-", "-"),
    "constraint": ("h100", "script", "-", "-", "-"),
    "exclude": ("n3", "script", "-", "-", "-"),
    "time_limit_min": (90, "script", "-", "-", "-"),
    "stop_before_limit_s": (120, "script", "-", "-", "-"),
    "memory_gib": (64, "script", "-", "-", "-"),
    "max_restarts": (7, "script", "restarts", "-", "-"),
    "sbatch_options": (["--comment=x"], "script", "-", "-", "-"),
    "srun_options": (["--label"], "script", "-", "-", "-"),
    "setup": (["module load cuda"], "script", "argv", "refused", "refused"),
    "container": (["apptainer", "exec", "b.sif"], "script", "argv", "refused", "refused"),
    "hosts": (["n1"], "-", "argv", "-", "-"),
    "python": ("/opt/python", "script", "argv", "refused", "refused"),
    "environment": (["HF_HOME"], "script", "argv", "-", "-"),
    "private": (False, "script", "umask", "umask", "umask"),
}
NAMES = {"slurm": "Slurm", "mpi": "MPI"}  # in the texts of keys; the other launchers are never named
LAUNCHERS = ("slurm", "mpi", "local", "torchrun")
CELLS = [
    pytest.param(key, value, launcher, treatment, id=f"{key}-{launcher}-{treatment}")
    for key, (value, *treatments) in TABLE.items()
    for launcher, treatment in zip(LAUNCHERS, treatments, strict=True)
]


def recipe_with(**cluster: object) -> Recipe:
    return Recipe.model_validate({"cluster": BASE | cluster})


def script(recipe: Recipe) -> str:
    return render(recipe, RUN, Site(Path("/home/you"), sys.executable))


def argv(recipe: Recipe) -> list[str]:
    return mpirun_argv(recipe, RUN, 1, as_root=False)


def ranks(recipe: Recipe) -> list[tuple[dict[str, str], float]]:
    machine = Machine(gpus=0, cores=8)
    return [(command.env, command.patience_s) for command in plan_ranks(recipe, RUN, [], machine)]


def umask(recipe: Recipe) -> int:
    before = os.umask(0o022)
    try:
        make_private(recipe)
        return os.umask(0o022)
    finally:
        os.umask(before)


def check(launcher: str, recipe: Recipe) -> None:
    """Check the settings as the commands of this launcher do before they start ranks."""
    if launcher == "local":
        check_nodes(recipe, 1)
    if launcher == "torchrun":
        check_ranks(recipe.cluster, TORCHRUN)
    if launcher in ("local", "torchrun"):
        check_environment(recipe.cluster)


def sources(*rooms: str) -> str:
    return "\n".join(file.read_text() for room in rooms for file in sorted((ROOT / room).rglob("*.py")))


OBSERVED = {"script": script, "argv": argv, "ranks": ranks, "umask": umask}
READ = {"rank": ("pretrain",), "restarts": ("launch/cluster",)}


def test_the_table_has_each_key_and_each_launcher() -> None:
    assert list(TABLE) == list(ClusterConfig.model_fields)
    assert set(TARGETS) <= set(LAUNCHERS)


@pytest.mark.parametrize(("key", "value", "launcher", "treatment"), CELLS)
def test_a_key_is_obeyed_or_refused_or_its_text_says_by_whom(
    key: str, value: object, launcher: str, treatment: str
) -> None:
    before, after = recipe_with(), recipe_with(**{key: value})
    check(launcher, before)
    if treatment == "refused":
        with pytest.raises(UserError) as refused:
            check(launcher, after)
        assert refused.value.place.startswith(f"cluster.{key} = ")
        return
    check(launcher, after)
    named = (ClusterConfig.model_fields[key].description or "").partition(":")[0]
    if treatment == "-":
        assert {"Slurm", "MPI"} & set(named.split())
        assert launcher not in NAMES or NAMES[launcher] not in named.split()
    elif treatment in READ:
        assert f"cluster.{key}" in sources(*READ[treatment])
    else:
        observe = OBSERVED[treatment]
        assert observe(before) != observe(after)
    if treatment != "-" and {"Slurm", "MPI"} & set(named.split()):
        assert NAMES[launcher] in named.split()


@pytest.mark.parametrize("key", [key for key in TABLE if "refused" in TABLE[key][1:]])
@pytest.mark.parametrize("launcher", ["local", "torchrun"])
def test_the_fix_of_a_refused_key_works(key: str, launcher: str) -> None:
    value = TABLE[key][0]
    if TABLE[key][1 + LAUNCHERS.index(launcher)] != "refused":
        return
    with pytest.raises(UserError) as refused:
        check(launcher, recipe_with(**{key: value}))
    setting = next(word for word in refused.value.fix.split() if word.startswith(f"cluster.{key}="))
    shown = setting.partition("=")[2].rstrip(".")
    check(launcher, recipe_with(**({key: json.loads(shown)} if shown else {})))


def test_all_keys_that_are_refused_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"^cluster.setup = .*, cluster.container = .*, cluster.python = ") as refused:
        check_environment(recipe_with(setup=["x"], container=["y"], python="/opt/python").cluster)
    assert refused.value.fix.endswith("with cluster.setup=[] cluster.container=[] cluster.python=")


def test_other_ranks_than_those_of_the_recipe_are_named() -> None:
    with pytest.raises(UserError, match=r"torchrun or srun starts 2, not 8\. Start as many"):
        check_ranks(recipe_with(ranks_per_node=8).cluster, TORCHRUN)
    check_ranks(recipe_with(ranks_per_node=2).cluster, TORCHRUN)


def test_this_python_and_counts_that_agree_are_accepted() -> None:
    check_environment(recipe_with(python=sys.executable).cluster)
    for on_node, nodes in ((2, 2), (0, 1), (1, 1)):
        check_ranks(recipe_with(ranks_per_node=on_node, nodes=nodes).cluster, TORCHRUN)
    check_ranks(recipe_with(ranks_per_node=8).cluster, {"WORLD_SIZE": "4"})  # of a launcher that does not say
    check_ranks(recipe_with(ranks_per_node=8).cluster, TORCHRUN | {"WORLD_SIZE": "four"})  # the rank says it
