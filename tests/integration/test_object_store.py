"""From raw text to an exported model through the command line, with corpus and data set in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain, write_small
from tests.object_store import object_store, upload

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as url:
        yield url


def test_every_command_that_takes_a_data_set_takes_a_url(bucket: str, tmp_path: Path) -> None:
    write_small(tmp_path)
    upload(tmp_path, f"{bucket}/input")
    (tmp_path / "corpus.txt").unlink()
    recipe = (tmp_path / "recipe.toml").read_text()
    recipe = recipe.replace('dataset = "dataset"', f'dataset = "{bucket}/dataset"')
    recipe = recipe.replace('paths = ["corpus.txt"]', f'paths = ["{bucket}/input/*.txt"]')
    (tmp_path / "recipe.toml").write_text(recipe)

    def run(*arguments: str) -> str:
        done = bertrain(tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert f"{bucket}/dataset is ready" in run("prepare", "recipe.toml", "data.workers=1")
    assert f"{bucket}/dataset: " in run("verify", f"{bucket}/dataset")
    inspected = run("inspect", f"{bucket}/dataset", "--rows", "2")
    assert "train.arrow row 1" in inspected
    assert f"{bucket}/dataset/DATA_CARD.md" in inspected
    run("train", "recipe.toml", "train.steps=3", f"train.stage_in={tmp_path}/stage")
    assert len(read_metrics(tmp_path / "runs/small")) >= 3
    assert list((tmp_path / "stage").glob("*/*.checked"))
    assert "config.json" in run("export", "runs/small", "--output", "exported")
    assert run("fill", "runs/small", "Ba [MASK] bo.")
    refused = bertrain(tmp_path, "verify", "nowhere://bucket/dataset")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "nowhere://bucket/dataset" in refused.stderr
