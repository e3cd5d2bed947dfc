from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe
from launch.cluster import mpi


def test_argv_for_several_hosts() -> None:
    overrides = ["cluster.nodes=2", "cluster.ranks_per_node=4", 'cluster.hosts=["n1", "n2"]', 'cluster.python="/p"']
    recipe = load_recipe("demo", [*overrides, 'cluster.environment=["HF_HOME"]', 'cluster.container=["in", "a b"]'])
    assert mpi.mpirun_argv(recipe, Path("/runs/a; b"), 3, as_root=True) == [
        "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "8", "--map-by", "ppr:4:node",
        "--host", "n1:4,n2:4", "-x", "HF_HOME",
        "in", "a b", "/p", "-P", "-m", "launch.cluster.cluster_rank", "/runs/a; b", "3", "--mpi",
    ]  # fmt: skip


def test_network_settings_reach_other_hosts() -> None:
    recipe = load_recipe("demo", ['cluster.environment=["NCCL_DEBUG"]'])
    argv = mpi.mpirun_argv(recipe, Path("/runs/demo"), 1, as_root=False, network=("NCCL_DEBUG", "NCCL_IB_HCA"))
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-x"] == ["NCCL_DEBUG", "NCCL_IB_HCA"]


def test_argv_on_this_machine() -> None:
    argv = mpi.mpirun_argv(load_recipe("demo"), Path("/runs/demo"), 1, as_root=False)
    assert argv[:7] == ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2", "--map-by"]
    assert argv[8] == sys.executable


@pytest.mark.parametrize("host", ["-x", "a;b", "a b", "a,b", "a:4"])
def test_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(UserError, match="hosts"):
        load_recipe("demo", [f'cluster.hosts=["{host}"]'])


def test_missing_mpirun_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="mpirun is not installed"):
        mpi.run_under_mpi(load_recipe("demo"), tmp_path)


RANKS = "python: No module named 'launch'\n"
BLURB = f"{'-' * 74}\nPrimary job  terminated normally, but 1 process returned\na non-zero exit code.\n{'-' * 74}\n"
NOT_FOUND = (
    f"{'-' * 74}\nmpirun was unable to find the specified executable file, and therefore\ndid not launch the job.\n\n"
    f"NOTE: A common cause is\n      a misspelt option.\n\nNode:       n1\nExecutable: apptainer\n{'-' * 74}\n"
)


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        (f"WARNING: old image\n{RANKS}{RANKS}{BLURB}[n1:42] 1 more process has sent help message\n", RANKS.strip()),
        (
            NOT_FOUND,
            "mpirun was unable to find the specified executable file, and therefore did not launch the job. "
            "Node: n1 Executable: apptainer",
        ),
        (BLURB, "Primary job terminated normally, but 1 process returned a non-zero exit code"),
        ("", "mpirun says nothing"),
    ],
)
def test_the_cause_is_found_in_what_mpirun_and_its_ranks_say(said: str, ended: str) -> None:
    assert mpi.what_ended(said) == ended


def test_a_login_shell_runs_the_lines_of_setup_and_keeps_the_path(tmp_path: Path) -> None:
    setup = ["export WANTED='a b'", "cd /"]
    recipe = load_recipe("demo", [f"cluster.setup={json.dumps(setup)}", 'cluster.container=["sh", "-c"]'])
    recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"python": 'echo "$PATH|$WANTED"'})})
    argv = mpi.pmix_rank_argv(recipe, tmp_path, 1)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    told = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"{tmp_path}:")
    assert told.strip().endswith("|a b")
