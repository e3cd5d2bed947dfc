"""ModernBERT from raw text to a verified export through the command line, on two ranks, with a resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import RECIPE, bertrain, write_small

MODERN = """\
[model]
architecture = "modernbert"
num_hidden_layers = 3
local_attention = 16
layer_norm_eps = 1e-5
hidden_dropout_prob = 0.1
attention_probs_dropout_prob = 0.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("modern")
    write_small(made)
    recipe = RECIPE.replace("[model]\n", MODERN).replace("num_hidden_layers = 2\n", "")
    (made / "recipe.toml").write_text(recipe.replace("[data]\n", '[data]\nobjective = "none"\n'))
    return made


def succeed(folder: Path, *arguments: str) -> str:
    done = bertrain(folder, *arguments, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_is_trained_resumed_evaluated_and_exported(folder: Path) -> None:
    planned = succeed(folder, "train", "recipe.toml", "--dry-run")
    assert "ModernBERT, global attention every 3 layers, local over 16 tokens" in planned
    assert "h100" in succeed(folder, "plan", "recipe.toml").lower()
    succeed(folder, "prepare", "recipe.toml", "data.workers=1")
    succeed(folder, "train", "recipe.toml")
    shorter = ["name=resumed", "optimizer.decay=constant"]
    succeed(folder, "train", "recipe.toml", *shorter, "train.steps=5")
    succeed(folder, "train", "recipe.toml", *shorter)
    succeed(folder, "train", "recipe.toml", "name=whole", "optimizer.decay=constant")
    whole, resumed = (read_metrics(folder / "runs" / name) for name in ("whole", "resumed"))
    assert [(r["rows"], r["loss"], r["grad_norm"]) for r in resumed] == [
        (r["rows"], r["loss"], r["grad_norm"]) for r in whole
    ]
    last = read_metrics(folder / "runs/small")[-1]
    assert last["valid_mlm_loss"] < read_metrics(folder / "runs/small")[0]["mlm_loss"]
    assert f"mlm loss {last['valid_mlm_loss']:.4f}" in succeed(folder, "evaluate", "runs/small")
    assert "real rows differ by at most" in succeed(folder, "export", "runs/small", "-o", "exported")
