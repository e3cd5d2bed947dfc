"""Consoles, pipes and limits of real machines: no traceback, and work that is done is not called failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing.dataset import read_manifest
from tests.preprocessing.corpora import make_documents, write_text

BERTRAIN = [sys.executable, "-m", "launch.cli"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_text(tmp_path / "in.txt", [f"{text} Ünïcödé 中文。" for text in make_documents(40)])
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[data]\ndataset = "out"\nmax_seq_length = 48\nmax_predictions_per_seq = 8\ndupe_factor = 1\n'
        'duplicates = "none"\nworkers = 1\n[data.vocabulary]\nsize = 150\n'
        '[[data.corpora]]\npaths = ["in.txt"]\nformat = "text"\n'
    )
    return path


def run(recipe: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash, in which `$@` is the command line of bertrain."""
    argv = ["bash", "-c", script, "bash", *BERTRAIN]
    place = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        argv, cwd=recipe.parent, env=os.environ | place | env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("output", ["| true", "> /dev/full", ">&-"], ids=["pipe", "full disk", "closed"])
def test_output_that_nobody_takes_does_not_fail_a_preparation(recipe: Path, output: str) -> None:
    ended = run(recipe, f'"$@" prepare recipe.toml {output}; exit "${{PIPESTATUS[0]}}"')
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("standard output fails" in ended.stderr) == (output == "> /dev/full")
    assert read_manifest(recipe.parent / "out").statistics.documents == 40


def test_standard_error_on_the_same_full_disk_does_not_fail_a_preparation(recipe: Path) -> None:
    assert run(recipe, '"$@" prepare recipe.toml > /dev/full 2>&1').returncode == 0
    assert read_manifest(recipe.parent / "out").statistics.documents == 40


@pytest.mark.parametrize("command", ["config recipe.toml", "recipes", "--help"])
def test_a_full_disk_under_the_output_of_a_question_is_named(recipe: Path, command: str) -> None:
    """The output is what the command is for, so it fails."""
    ended = run(recipe, f'"$@" {command} > /dev/full')
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: standard output: cannot write: No space left on device. Free some space")
    assert ended.stderr.count("\n") == 1


def test_a_limit_on_file_sizes_is_named(recipe: Path) -> None:
    ended = run(recipe, 'ulimit -f 4; "$@" prepare recipe.toml')
    assert ended.returncode == 2
    assert "The file would exceed the limit on file sizes: raise it (`ulimit -f`)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_set_that_may_not_be_written_is_inspected(recipe: Path) -> None:
    assert run(recipe, '"$@" prepare recipe.toml').returncode == 0
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search" if os.geteuid() == 0 else ""
    ended = run(recipe, f'chmod -R a-w out; {drop} "$@" inspect out; code=$?; chmod -R u+w out; exit $code')
    assert ended.returncode == 0, ended.stderr
    assert "no data card was written" in ended.stdout
    assert "No permission to write there" in ended.stdout


def test_a_console_without_unicode_shows_what_it_can(recipe: Path) -> None:
    assert run(recipe, '"$@" prepare recipe.toml', PYTHONIOENCODING="latin-1").returncode == 0
    ended = run(recipe, '"$@" inspect out --no-card', PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr


def test_a_second_run_says_that_it_has_nothing_to_do(recipe: Path) -> None:
    assert run(recipe, '"$@" prepare recipe.toml').stdout.endswith("out is ready\n")
    assert "out is already up to date" in run(recipe, '"$@" prepare recipe.toml').stdout
