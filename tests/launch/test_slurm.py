"""The batch script: what it holds for each recipe, and what cannot get into it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from configs.recipe import load_recipe, shipped_recipes
from launch import slurm

EXAMPLES = Path(slurm.__file__).parent / "examples"
REFRESH = "REFRESH_GOLDEN=1 pytest tests/launch/test_slurm.py"
HOME = Path("/home/you")


def render(*overrides: str, run: Path = HOME / "runs/demo", folder: Path = HOME) -> str:
    return slurm.plan(load_recipe("demo", overrides), run, folder=folder, python="/home/you/venv/bin/python")


def options(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.split("\n") if line.startswith("#SBATCH ")]


def values_in_bash(script: str, name: str) -> list[str]:
    """What bash makes of the script's assignment to `name`."""
    assignment = next(line for line in script.split("\n") if line.startswith(f"{name}="))
    show = f"{assignment}\nprintf '%s\\0' \"${{{name}[@]}}\""
    return subprocess.run(["bash", "-c", show], capture_output=True, check=True).stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    ("recipe_name", "script", "golden"),
    [(name, slurm.SCRIPT, f"{name}.sbatch") for name in shipped_recipes()]
    + [("demo", slurm.PREPARE_SCRIPT, "demo.prepare.sbatch")],
)
def test_script_is_the_one_that_was_looked_at(recipe_name: str, script: str, golden: str) -> None:
    recipe = load_recipe(recipe_name)
    run = HOME / "runs" / recipe.name
    text = slurm.plan(recipe, run, folder=HOME, python="/home/you/venv/bin/python", script=script)
    file = EXAMPLES / golden
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(text)
    assert file.exists(), f"write it with {REFRESH}"
    assert text == file.read_text(), f"if this is meant: {REFRESH}"
    subprocess.run(["bash", "-n"], input=text.encode(), check=True)


def test_what_the_recipe_asks_for_is_asked_of_slurm() -> None:
    script = render(
        "cluster.nodes=4", "cluster.gpus_per_node=8", "cluster.ranks_per_node=0", "cluster.cpu_threads=12",
        "cluster.partition=gpu", "cluster.account=nlp-1", "cluster.qos=high", 'cluster.constraint="h100&ib"',
        "cluster.memory_gib=900", "cluster.time_limit_min=90", "cluster.stop_before_limit_s=120",
        "cluster.exclude=gpu[07,12]", 'cluster.sbatch_options=["--comment=a b", "--exclusive"]',
        'cluster.environment=["HF_HOME"]',
    )  # fmt: skip
    assert options(script) == [
        "--job-name=demo",
        "--nodes=4",
        "--ntasks-per-node=8",
        "--partition=gpu",
        "--account=nlp-1",
        "--qos=high",
        '--constraint="h100&ib"',
        '--exclude="gpu[07,12]"',
        "--gpus-per-node=8",
        "--cpus-per-task=12",
        "--mem=900G",
        "--time=90",
        "--signal=B:USR1@120",
        "--requeue",
        "--open-mode=append",
        "--output=/home/you/runs/demo/logs/slurm.log",
        "--export=HOME,USER,LOGNAME,SHELL,LANG,LC_ALL,TZ,PATH,LD_LIBRARY_PATH,HF_HOME",
        '--comment="a b"',
        "--exclusive",
    ]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="/\\\x7f"), min_size=1))
@settings(max_examples=25, deadline=None)
def test_any_path_reaches_bash_as_it_is(name: str) -> None:
    run = Path("/runs") / f"x{name}"
    script = render(run=run, folder=run)
    assert values_in_bash(script, "run") == [str(run)]
    assert len(options(script)) == len(options(render()))


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_any_container_command_reaches_bash_as_it_is(command: list[str]) -> None:
    recipe = load_recipe("demo")
    cluster = recipe.cluster.model_copy(update={"container": command})
    recipe = recipe.model_copy(update={"cluster": cluster})
    script = slurm.plan(recipe, HOME / "runs/demo", folder=HOME, python="/p")
    assert values_in_bash(script, "python") == [*command, "/p", "-P", "-m"]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\\b", "a\x7fb"])
def test_path_that_no_script_can_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="line break or backslash"):
        render(run=Path("/runs") / name)


def test_submission_is_one_argv() -> None:
    script = Path("/runs/a; b/submit.sbatch")
    assert slurm.submit_argv(script) == ["sbatch", "--parsable", "/runs/a; b/submit.sbatch"]
    assert slurm.submit_argv(script, after=["3", "5"]) == [
        "sbatch", "--parsable", "--dependency=afterok:3:5", "--kill-on-invalid-dep=yes", "/runs/a; b/submit.sbatch",
    ]  # fmt: skip


def test_machine_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch here: this machine has no Slurm"):
        slurm.submit(tmp_path / "submit.sbatch")


def test_srun_options_are_single_words() -> None:
    script = render('cluster.srun_options=["--container-image=a b; c"]')
    line = next(line for line in script.split("\n") if line.startswith("srun "))
    assert shlex.split(line)[3] == "--container-image=a b; c"
