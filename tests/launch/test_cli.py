"""Run the command as a process: its help, its user errors, and the processes that it starts."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pretrain
from preprocessing.dataset.manifest import read_manifest
from tests.preprocessing.inspection.test_verification import (
    dataset as dataset,  # the fixture: a small valid data set
)

COMMANDS = (
    *("init", "config", "recipes", "prepare", "inspect", "verify", "train", "evaluate"),
    *("plan", "submit", "status", "logs", "stop", "doctor", "plot", "tensorboard"),
    *("export", "import", "fill", "senses", "finetune", "embed"),
)
HEAVY = ("torch", "deepspeed", "apache_beam", "pyarrow", "numpy")

# A trainer that prints how it was started, and what it read.
TRAINER = """
import json, os, sys
from configs.recipe import load_recipe
run = sys.argv[1]
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
print(json.dumps({
    "arguments": sys.argv[2:], "pid": os.getpid(), "env": {name: os.environ.get(name) for name in names},
    "seed": load_recipe(os.path.join(run, "recipe.toml")).train.seed,
}))
sys.exit(int(os.environ.get("EXIT", "0")))
"""

RECIPE = """
base = "demo"
[data]
dupe_factor = 10
held_out_fraction = 0.01
[model]
hidden_size = 192
num_attention_heads = 6
[cluster]
device = "cpu"
ranks_per_node = 2
"""


@pytest.fixture
def trainer(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the demo's data set, and `TRAINER` in place of our trainer."""
    package = tmp_path / "packages" / "pretrain"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__path__ += {pretrain.__path__!r}\n")
    (package / "__main__.py").write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    work = tmp_path / "work here"
    (work / "datasets").mkdir(parents=True)
    (work / "mine.toml").write_text(RECIPE)
    (work / "datasets" / "demo").symlink_to(dataset)
    return work


def bertrain(
    *arguments: str, folder: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "launch.cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def started(result: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert result.returncode == 0, result.stderr
    report: dict[str, object] = json.loads(result.stdout.splitlines()[0])  # then the outcome
    return report


def error_of(result: subprocess.CompletedProcess[str]) -> str:
    """Return the only line that states an error; warnings about the data set can precede it."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


class TestHelp:
    def test_it_lists_every_command(self) -> None:
        shown = bertrain("--help")
        assert shown.returncode == 0
        assert all(f" {command} " in shown.stdout for command in COMMANDS)
        assert "bertrain config demo" in shown.stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_of_every_command_shows_an_example(self, command: str) -> None:
        shown = bertrain(command, "--help")
        assert shown.returncode == 0
        assert f"bertrain {command} " in shown.stdout.split("Usage:")[1].split("\n", 1)[1]

    def test_nothing_heavy_is_imported(self) -> None:
        program = f"""
import sys
import time
from launch import cli
sys.argv = ["bertrain", "--help"]
try: cli.main()
except SystemExit: pass
print(*(set(sys.modules) & set({HEAVY})), file=sys.stderr)
"""
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert shown.stderr.split() == []

    @pytest.mark.parametrize("arguments", [("--help",), ("status", "run"), ("submit", "demo", "--dry-run")])
    def test_starting_takes_little_more_than_the_libraries_of_a_command_line(
        self, arguments: tuple[str, ...], tmp_path: Path
    ) -> None:
        """Measure processor time, which a busy machine affects less, and take the best of three."""
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.toml").write_text('base = "demo"\n')

        def seconds(run: Callable[[], subprocess.CompletedProcess[str]]) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert run().returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

        def libraries() -> subprocess.CompletedProcess[str]:
            program = "import typer, rich.console, pydantic"
            return subprocess.run([sys.executable, "-c", program], text=True, check=False)

        least = min(seconds(libraries) for _ in range(3))
        assert min(seconds(lambda: bertrain(*arguments, folder=tmp_path)) for _ in range(3)) < 6 * least

    def test_the_version_is_printed(self) -> None:
        assert re.fullmatch(r"bertrain \d+\.\d+\.\d+\n", bertrain("--version").stdout)

    def test_the_shell_completes_commands(self) -> None:
        """What a shell asks for when one presses Tab after `bertrain ev`."""
        asked = {"_BERTRAIN_COMPLETE": "complete_bash", "COMP_WORDS": "bertrain ev", "COMP_CWORD": "1"}
        program = "import sys; sys.argv = ['bertrain']; from launch.cli import app; app(prog_name='bertrain')"
        shown = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=False
        )
        assert shown.stdout.split() == ["evaluate"]

    def test_shipped_recipes_are_listed_with_their_purpose(self) -> None:
        shown = bertrain("recipes")
        assert shown.returncode == 0
        assert {line.split()[0] for line in shown.stdout.splitlines()} >= {"demo", "one_gpu_small", "glue_tasks"}
        assert all(line.endswith(".") for line in shown.stdout.splitlines())

    def test_no_arguments_print_help_and_an_unknown_command_exits_with_2(self) -> None:
        assert "Usage:" in bertrain().stdout
        wrong = bertrain("trian")
        assert wrong.returncode == 2
        assert "train" in wrong.stderr


class TestConfig:
    def test_config_prints_a_usable_recipe(self, tmp_path: Path) -> None:
        shown = bertrain("config", "demo", "train.steps=700")
        assert shown.returncode == 0
        assert "steps = 700  # changed; default: 1000000\n" in shown.stdout
        assert "\x1b" not in shown.stdout
        (tmp_path / "mine.toml").write_text(shown.stdout)
        assert bertrain("config", str(tmp_path / "mine.toml")).stdout == shown.stdout

    def test_config_uses_colours_on_a_terminal(self) -> None:
        assert "\x1b[" in bertrain("config", "demo", env={"FORCE_COLOR": "1"}).stdout

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["missing.toml"], r"error: missing\.toml: no such recipe\. .*\n"),
            (["demo", "train.stepz=1"], r"error: 'train.stepz=1': unknown key .* Did you mean `train\.steps`\?\n"),
            (["demo", "train.steps=0"], r"error: 'train.steps=0': .* greater than or equal to 1\. .*\n"),
            (["demo", "train.steps"], r"error: 'train.steps': not an override\. .*\n"),
        ],
    )
    def test_user_errors_are_one_line(self, arguments: list[str], line: str) -> None:
        refused = bertrain("config", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert re.fullmatch(line, refused.stderr)


class TestDataSets:
    def test_inspect_shows_pairs_and_totals(self, dataset: Path) -> None:
        shown = bertrain("inspect", str(dataset), "--rows", "2")
        assert shown.returncode == 0
        assert len(re.findall(r"^shards/00000\.0000-p00-train\.arrow row [01]: ", shown.stdout, re.MULTILINE)) == 2
        assert shown.stdout.count("←word") >= 4
        rows = [line.split() for line in shown.stdout.splitlines() if line.strip().startswith(("train", "held_out"))]
        assert [row[:4] for row in rows] == [
            ["train", "1", "1", "40"],
            ["train", "0", "1", "40"],
            ["held_out", "0", "1", "40"],
        ]

    def test_inspect_shows_the_requested_split_and_pass(self, dataset: Path) -> None:
        shown = bertrain("inspect", str(dataset), "--rows", "1", "--split", "held_out")
        assert "p00-held_out.arrow row 0" in shown.stdout
        refused = bertrain("inspect", str(dataset), "--pass", "9")
        assert refused.returncode == 2
        assert "no train rows in pass 9" in refused.stderr

    def test_inspect_refuses_a_damaged_shard_and_a_missing_data_set(self, dataset: Path, tmp_path: Path) -> None:
        (dataset / read_manifest(dataset).shards[1].name).write_bytes(b"damaged")
        for arguments in (["inspect", str(dataset)], ["inspect", str(tmp_path / "none")]):
            refused = bertrain(*arguments)
            assert refused.returncode == 2
            assert refused.stderr.count("\n") == 1

    def test_verify_reports_success_and_failures(self, dataset: Path) -> None:
        assert "3 shards, 120 pairs" in bertrain("verify", str(dataset)).stdout
        (dataset / read_manifest(dataset).shards[1].name).unlink()
        refused = bertrain("verify", str(dataset))
        assert refused.returncode == 2
        assert refused.stdout == "shards/00000.0000-p00-train.arrow: the shard is missing\n"
        assert "1 failure(s), listed above" in refused.stderr


class TestTrain:
    def test_train_starts_ranks_in_the_run_folder(self, trainer: Path) -> None:
        report = started(bertrain("train", "mine.toml", "train.seed=9", folder=trainer))
        assert report["arguments"] == ["--resume", "auto", "--start", "1"]
        assert report["env"] == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        assert report["seed"] == 9
        logs = trainer / "runs" / "demo" / "logs"
        assert sorted(os.listdir(logs)) == ["rank_00000.log", "rank_00001.log"]
        assert json.loads((logs / "rank_00001.log").read_text())["env"]["RANK"] == "1"

    @pytest.mark.parametrize(("code", "exit_code"), [("0", 0), ("75", 75), ("2", 2), ("1", 1), ("9", 1)])
    def test_train_returns_the_exit_code_of_the_ranks(self, trainer: Path, code: str, exit_code: int) -> None:
        result = bertrain("train", "mine.toml", folder=trainer, env={"EXIT": code})
        assert result.returncode == exit_code

    def test_train_inside_torchrun_becomes_one_rank(self, trainer: Path) -> None:
        arguments = [sys.executable, "-P", "-m", "launch.cli", "train", "mine.toml"]
        env = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "node7"}
        rank = subprocess.Popen(arguments, cwd=trainer, env=env, stdout=subprocess.PIPE, text=True)
        report = json.loads(rank.communicate(timeout=60)[0])
        assert report["pid"] == rank.pid  # no process in between: signals reach the rank itself
        assert report["env"] == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "node7"}

    def test_train_refuses_another_recipe_and_changes_nothing(self, trainer: Path) -> None:
        started(bertrain("train", "mine.toml", folder=trainer))
        (trainer / "runs/demo/checkpoints/step_00000025").mkdir(parents=True)
        refused = bertrain("train", "mine.toml", "model.hidden_size=96", folder=trainer)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "model.hidden_size 192 -> 96" in refused.stderr
        assert [line for line in refused.stderr.splitlines() if not line.startswith("WARNING")] == [error_of(refused)]

    def test_train_without_the_requested_gpu_writes_nothing(self, trainer: Path) -> None:
        refused = bertrain(
            "train", "mine.toml", "cluster.device=cuda", folder=trainer, env={"CUDA_VISIBLE_DEVICES": ""}
        )
        assert refused.returncode == 2
        assert "no GPU is visible" in error_of(refused)
        assert not (trainer / "runs").exists()

    def test_evaluate_starts_ranks_with_separate_logs(self, trainer: Path) -> None:
        bertrain("train", "mine.toml", "cluster.ranks_per_node=1", folder=trainer)
        report = started(bertrain("evaluate", "runs/demo", folder=trainer))
        assert report["arguments"] == ["--evaluate", "--resume", "auto"]
        assert (trainer / "runs/demo/logs/evaluate_00000.log").exists()
        refused = bertrain("evaluate", "runs/none", folder=trainer)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)

    def test_ctrl_c_before_the_ranks_start_shows_no_traceback(self, trainer: Path) -> None:
        (trainer.parent / "packages/pretrain/__main__.py").write_text("import time; time.sleep(600)")
        arguments = [sys.executable, "-P", "-m", "launch.cli", "train", "mine.toml"]
        command = subprocess.Popen(arguments, cwd=trainer, stderr=subprocess.PIPE, text=True)
        while not (trainer / "runs/demo/logs").exists():
            time.sleep(0.01)
        command.send_signal(signal.SIGINT)
        error = command.communicate(timeout=60)[1]
        assert command.returncode == 130
        assert "Traceback" not in error


def test_unexpected_errors_keep_their_traceback(tmp_path: Path) -> None:
    """An error that is not the user's is a bug, and its traceback helps to find it."""
    program = "import launch.ranks.run_folder as f; f.check_is_run = None\nfrom launch.cli import main\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "stop", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
