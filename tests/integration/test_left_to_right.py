"""A model from left to right, on sentence pairs: trained, resumed, evaluated and exported through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain, write_small

LEFT = "model.attention=left_to_right"


def succeed(folder: Path, *arguments: str) -> str:
    done = bertrain(folder, *arguments, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_is_trained_resumed_evaluated_and_exported(tmp_path: Path) -> None:
    write_small(tmp_path)
    assert "next words, left to right, " in succeed(tmp_path, "train", "recipe.toml", "--dry-run", LEFT)
    succeed(tmp_path, "prepare", "recipe.toml", "data.workers=1")
    shorter = [LEFT, "name=resumed", "optimizer.decay=constant"]
    succeed(tmp_path, "train", "recipe.toml", *shorter, "train.steps=5")
    succeed(tmp_path, "train", "recipe.toml", *shorter)
    succeed(tmp_path, "train", "recipe.toml", LEFT, "name=whole", "optimizer.decay=constant")
    succeed(tmp_path, "train", "recipe.toml", "name=both", "optimizer.decay=constant")
    whole, resumed, both = (read_metrics(tmp_path / "runs" / name) for name in ("whole", "resumed", "both"))
    assert [(r["rows"], r["loss"], r["grad_norm"]) for r in resumed] == [
        (r["rows"], r["loss"], r["grad_norm"]) for r in whole
    ]
    assert [r["rows"] for r in whole] == [r["rows"] for r in both]  # the same rows in the same order
    assert whole[0]["nsp_loss"] is None
    assert whole[-1]["valid_mlm_loss"] < whole[0]["mlm_loss"]
    assert f"mlm loss {whole[-1]['valid_mlm_loss']:.4f}" in succeed(tmp_path, "evaluate", "runs/whole")
    assert "real rows differ by at most" in succeed(tmp_path, "export", "runs/whole", "-o", "exported")
