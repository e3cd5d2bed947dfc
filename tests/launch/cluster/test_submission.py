from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, shipped_recipes
from launch.cluster import slurm, submission

EXAMPLES = Path(slurm.__file__).parent / "examples"
HEAVY = ("torch", "deepspeed", "apache_beam", "pyarrow", "numpy")


def bertrain(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "200"}
    argv = [sys.executable, "-P", "-m", "launch.cli", *arguments]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_dry_run_prints_scripts_and_commands_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "second.toml").write_text('base = "demo"\nname = "second"\n')
    chain = ("--prepare", "--shares", "3", "--then", "second.toml", "--export", "my bert")
    done = bertrain("submit", "demo", *chain, "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run, second = tmp_path / "runs/demo", tmp_path / "runs/second"
    assert done.stdout.splitlines()[-5:] == [
        f"sbatch --parsable {run}/prepare.sbatch",
        f"sbatch --parsable --dependency=afterok:JOB1 --kill-on-invalid-dep=yes {run}/submit.sbatch",
        f"sbatch --parsable --dependency=afterok:JOB1 --kill-on-invalid-dep=yes {second}/prepare.sbatch",
        f"sbatch --parsable --dependency=afterok:JOB3:JOB2 --kill-on-invalid-dep=yes {second}/submit.sbatch"
        f" --after {run}",
        f"sbatch --parsable --dependency=afterok:JOB4 --kill-on-invalid-dep=yes {second}/export.sbatch"
        f" --after {second}",
    ]
    assert done.stdout.count("#SBATCH --array=1-3\n") == 2
    assert f"--output '{tmp_path}/my bert'\n" in done.stdout
    assert f"run={run}\n" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["second.toml"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_dry_run_of_a_shipped_recipe_prints_its_golden_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the working directory and the Python differ."""
    monkeypatch.chdir(tmp_path)
    shown = "\n".join(submission.describe_chain(submission.plan_chain([load_recipe(name)])))
    for here, there in ((sys.executable, "/home/you/venv/bin/python"), (str(tmp_path), "/home/you")):
        shown = shown.replace(here, there)
    script = f"/home/you/runs/{load_recipe(name).name}/submit.sbatch"
    golden = (EXAMPLES / f"{name}.sbatch").read_text()
    assert shown == f"==> {script}\n{golden}\nsbatch --parsable {script}"


@pytest.mark.parametrize("target", ["mpi", "local"])
def test_dry_run_of_other_launchers_prints_a_command(target: str, tmp_path: Path) -> None:
    done = bertrain("submit", "demo", "cluster.device=cpu", "--to", target, "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/runs/demo" in done.stdout
    assert not list(tmp_path.iterdir())


def test_only_slurm_chains_jobs(tmp_path: Path) -> None:
    done = bertrain("submit", "demo", "--to", "mpi", "--prepare", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --to mpi: only Slurm chains jobs.")
    done = bertrain("submit", "demo", "--shares", "4", "--dry-run", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: --shares: nothing is prepared. Add --prepare.\n")


def test_two_runs_of_the_same_name_are_refused() -> None:
    with pytest.raises(UserError, match="two runs have the name 'demo'"):
        submission.plan_chain([load_recipe("demo"), load_recipe("demo")])


def test_a_queued_run_is_not_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    links = submission.plan_chain([load_recipe("demo")])
    monkeypatch.setattr(
        slurm, "queued_jobs", lambda: [slurm.QueuedJob("7", "PENDING", "Priority", "", "0:00", links[0].path)]
    )
    with pytest.raises(UserError, match="job 7 of this run is pending"):
        list(submission.submit_chain(links))
    assert not (tmp_path / "runs").exists()


def test_a_jobs_files_are_private_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    os.umask(0o022)
    for private, mode in ((True, 0o700), (False, 0o755)):
        recipe = load_recipe("demo", [f"name=p{private}", f"cluster.private={str(private).lower()}"])
        with pytest.raises(UserError, match="sbatch is not installed"):
            list(submission.submit_chain(submission.plan_chain([recipe])))
        assert (tmp_path / "runs" / recipe.name).stat().st_mode & 0o777 == mode
        assert os.umask(0o022) == 0o022


@pytest.mark.parametrize("arguments", [("submit", "demo", "--dry-run"), ("status", "run")])
def test_nothing_heavy_is_imported_on_a_login_node(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text('base = "demo"\n')
    program = "import sys; sys.argv = ['bertrain', *sys.argv[1:]]\nfrom launch.cli import main\ntry: main()\nfinally: "
    program += f"sys.stderr.write(repr([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr.decode().splitlines()[-1].endswith("[]")
