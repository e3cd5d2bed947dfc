"""One training that changes its ranks and ZeRO stage: 2, 1, 2 ranks at stages 1, 3, 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.state import read_state
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


def test_a_lower_rate_and_clipping_hold_from_the_resumed_step_on_and_are_recorded(
    zygote: Zygote, tmp_path: Path
) -> None:
    training = Training(zygote, tmp_path / "lowered", train={"steps": 6}, **EXACTLY)
    training.start()
    assert training.end() == 0
    lowered = {"decay": "constant", "learning_rate": 1e-4, "gradient_clipping": 0.5}
    for last_step in (9, 12):
        training.change(train={"steps": last_step}, optimizer=lowered, model=EXACTLY["model"])
        training.start()
        assert training.end() == 0
    rates = [record["learning_rate"] for record in read_metrics(training.run)]
    assert rates == pytest.approx([5e-3, *[1e-2] * 5, *[1e-4] * 6])
    changes = [
        "from step 7: optimizer.learning_rate 0.01 -> 0.0001",
        "from step 7: optimizer.gradient_clipping 1.0 -> 0.5",
    ]
    assert read_state(training.run / "checkpoints" / "step_00000012").changes == changes
    for change in changes:
        assert f"changed  {change}" in training.output(0)
