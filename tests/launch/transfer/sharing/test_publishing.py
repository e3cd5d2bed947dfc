"""The command that uploads an exported model."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from launch.transfer.huggingface import export_run
from launch.transfer.sharing.publishing import run_push
from tests.pretrain.runs import some_model, write_run


def test_push_prints_one_command_that_can_be_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, output = write_run(tmp_path, some_model()), tmp_path / "an export"
    write_recipe(load_recipe(str(run / "recipe.toml"), ["license=apache-2.0"]), run / "recipe.toml")
    export_run(run, output)
    run_push(output, "you/demo-bert")
    assert capsys.readouterr().out == f"hf upload you/demo-bert '{output}'\n"


def test_push_says_that_the_license_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_run(write_run(tmp_path, some_model()), tmp_path / "out")
    run_push(tmp_path / "out", "you/demo-bert")
    assert "states no license: write one there" in " ".join(capsys.readouterr().out.split())


def test_push_refuses_what_is_no_exported_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an exported model with its card"):
        run_push(write_run(tmp_path, some_model()), "you/demo-bert")
