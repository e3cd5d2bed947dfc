"""One training that changes its ranks and ZeRO stage: 2, 1, 2 ranks at stages 1, 3, 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.chaos.training import Training, Zygote

PARTS = ((2, 1, 20), (1, 3, 40), (2, 2, 60))  # ranks, ZeRO stage, last step
EXACTLY: dict[str, dict[str, Any]] = {
    "model": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "optimizer": {"decay": "constant", "learning_rate": 1e-2},  # no decay, because the last step changes in this test
}


def train(training: Training, ranks: int, stage: int, steps: int) -> None:
    """Resume the training up to a step."""
    setting = {"zero_stage": stage, "precision": "fp32", "steps": steps}
    training.change(train=setting, cluster={"ranks_per_node": ranks}, **EXACTLY)
    training.start()
    assert training.end() == 0, training.output(0)


def test_ranks_and_stage_can_change_within_one_training(zygote: Zygote, tmp_path: Path) -> None:
    uninterrupted, changing = Training(zygote, tmp_path / "uninterrupted"), Training(zygote, tmp_path / "changing")
    train(uninterrupted, *PARTS[0][:2], steps=PARTS[-1][2])
    for part in PARTS:
        train(changing, *part)
    ours, theirs = read_metrics(changing.run), read_metrics(uninterrupted.run)
    assert [record["step"] for record in ours] == list(range(1, PARTS[-1][2] + 1))
    assert [record["rows"] for record in ours] == [record["rows"] for record in theirs]
    losses = [record["loss"] for record in ours]
    assert losses == pytest.approx([record["loss"] for record in theirs], rel=1e-5)
    assert len(set(losses)) == len(losses)


def test_another_last_step_changes_the_decay_with_a_warning(zygote: Zygote, tmp_path: Path) -> None:
    training = Training(zygote, tmp_path / "bent", train={"steps": 6})
    training.start()
    assert training.end() == 0
    training.change(train={"steps": 9})
    training.start()
    assert training.end() == 0
    output = training.output(0)
    assert "the learning rate of step 7 is 0.0004286 with these settings, but 0 with those that the run was" in output
