"""Batch scripts: their content for each recipe, and quoting."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from configs.errors import UserError
from configs.recipe import load_recipe, shipped_recipes
from launch.cluster import batch_script
from launch.cluster.batch_script import EXPORT, PREPARE, TRAIN, JobStage, Site, network_variables, render

EXAMPLES = Path(batch_script.__file__).parent / "examples"
REFRESH = "REFRESH_GOLDEN=1 pytest tests/launch/cluster/test_batch_script.py"
HOME = Path("/home/you")


SITE = Site(HOME, "/home/you/venv/bin/python")
DEMO = HOME / "runs/demo"


def train_script(*overrides: str, run: Path = DEMO, folder: Path = HOME) -> str:
    return render(load_recipe("demo", overrides), run, Site(folder, SITE.python))


def options(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.split("\n") if line.startswith("#SBATCH ")]


def values_in_bash(script: str, name: str) -> list[str]:
    """Return the value that bash assigns to `name`."""
    assignment = next(line for line in script.split("\n") if line.startswith(f"{name}="))
    show = f"{assignment}\nprintf '%s\\0' \"${{{name}[@]}}\""
    return subprocess.run(["bash", "-c", show], capture_output=True, check=True).stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    ("recipe_name", "stage", "golden"),
    [(name, TRAIN, f"{name}.sbatch") for name in shipped_recipes()]
    + [("demo", PREPARE, "demo.prepare.sbatch"), ("demo", EXPORT, "demo.export.sbatch")],
)
def test_script_equals_its_golden_file(recipe_name: str, stage: JobStage, golden: str) -> None:
    recipe = load_recipe(recipe_name)
    text = render(recipe, HOME / "runs" / recipe.name, SITE, stage, output=HOME / "demo-bert")
    file = EXAMPLES / golden
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(text)
    assert file.exists(), f"to write it: {REFRESH}"
    assert text == file.read_text(), f"if the change is intended: {REFRESH}"
    subprocess.run(["bash", "-n"], input=text.encode(), check=True)


@pytest.mark.parametrize("stage", [TRAIN, PREPARE, EXPORT])
def test_a_script_that_is_cut_fails_before_it_does_anything(tmp_path: Path, stage: JobStage) -> None:
    text = render(load_recipe("demo"), DEMO, SITE, stage, output=HOME / "demo-bert")
    text = text.replace("\n{", "\n{ touch begun;")
    begin, end = text.index("begun;"), text.rindex("}")
    for length in range(begin, end, 29):
        done = subprocess.run(["bash"], input=text[:length].encode(), cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode, text[:length]
        assert not (tmp_path / "begun").exists()


def test_a_job_inherits_the_sites_network_settings() -> None:
    shell = ["NCCL_IB_HCA", "AWS_SECRET_ACCESS_KEY", "FI_PROVIDER", "UCX_TLS", "NCCL_X;rm", "MY_NCCL_KEY", "HOME"]
    network = network_variables(shell)
    assert network == ("FI_PROVIDER", "NCCL_IB_HCA", "UCX_TLS")
    recipe = load_recipe("demo", ['cluster.environment=["NCCL_IB_HCA", "HF_HOME"]'])
    script = render(recipe, DEMO, Site(HOME, SITE.python, network))
    (exported,) = [option for option in options(script) if option.startswith("--export=")]
    assert exported.endswith(",LD_LIBRARY_PATH,FI_PROVIDER,NCCL_IB_HCA,UCX_TLS,HF_HOME")


def test_settings_become_sbatch_options() -> None:
    script = train_script(
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
def test_any_path_reaches_bash_unchanged(name: str) -> None:
    run = Path("/runs") / f"x{name}"
    script = train_script(run=run, folder=run)
    assert values_in_bash(script, "run") == [str(run)]
    assert len(options(script)) == len(options(train_script()))


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_any_container_command_reaches_bash_unchanged(command: list[str]) -> None:
    recipe = load_recipe("demo")
    cluster = recipe.cluster.model_copy(update={"container": command})
    recipe = recipe.model_copy(update={"cluster": cluster})
    script = render(recipe, DEMO, Site(HOME, "/p"))
    assert values_in_bash(script, "python") == [*command, "/p", "-P", "-m"]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\\b", "a\x7fb"])
def test_path_with_line_break_or_backslash_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="line break or backslash"):
        train_script(run=Path("/runs") / name)


def test_srun_options_are_single_words() -> None:
    script = train_script('cluster.srun_options=["--container-image=a b; c"]')
    line = next(line for line in script.replace("\\\n", "").split("\n") if line.strip().startswith("srun "))
    assert shlex.split(line)[3] == "--container-image=a b; c"


def test_shares_are_an_array_with_separate_logs() -> None:
    script = render(load_recipe("demo"), Path("/a%b"), SITE, PREPARE, shares=16)
    assert {"--nodes=1", "--ntasks-per-node=1", "--array=1-16", '--output="/a%%b/logs/prepare_%a.log"'} <= set(
        options(script)
    )
    assert 'prepare "$run"/recipe.toml --share "$SLURM_ARRAY_TASK_ID/16" &\n' in script
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)


def test_one_process_has_the_cores_of_all_ranks_and_no_gpu() -> None:
    recipe = load_recipe("demo", ["cluster.gpus_per_node=8", "cluster.ranks_per_node=8", "cluster.cpu_threads=12"])
    for stage in (PREPARE, EXPORT):
        asked = options(render(recipe, DEMO, SITE, stage, output=HOME / "out"))
        assert "--cpus-per-task=96" in asked
        assert not [option for option in asked if "gpu" in option]


@pytest.mark.parametrize("name", ["my bert", "a; b $(c) `d` \"e\", 'f' -g"])
def test_any_export_folder_reaches_bash_unchanged(name: str) -> None:
    script = render(load_recipe("demo"), DEMO, SITE, EXPORT, output=HOME / name)
    command = next(line for line in script.split("\n") if line.startswith("exec "))
    assert shlex.split(command)[-2:] == ["--output", str(HOME / name)]
