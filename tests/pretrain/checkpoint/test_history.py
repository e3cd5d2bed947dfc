"""Setting a run's history aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.history import set_aside


def contents(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def test_later_starts_do_not_resume_from_set_aside_history(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        (tmp_path / "checkpoints/step_00000005").mkdir(parents=True)
        (tmp_path / "checkpoints/step_00000005/state.json").write_text("{}")
        (tmp_path / "latest").write_text("step_00000005\n")
        (tmp_path / "metrics.jsonl").write_text("{}\n")
        (tmp_path / "recipe.toml").write_text("")
        set_aside(tmp_path)
        assert not checkpoints.has_checkpoint(tmp_path)
        assert checkpoints.find_checkpoint(tmp_path) is None
        assert f"set_aside/{number:02d}" in caplog.messages[-1]
    kept = ["checkpoints/step_00000005/state.json", "latest", "metrics.jsonl"]
    assert contents(tmp_path) == ["recipe.toml", *(f"set_aside/{n}/{name}" for n in ("01", "02") for name in kept)]


def test_run_without_history_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    set_aside(tmp_path)
    assert contents(tmp_path) == ["recipe.toml"]
