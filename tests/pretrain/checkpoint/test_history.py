"""Setting a run's history aside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.files import atomic_write_text
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.finding import checkpoint_names
from pretrain.checkpoint.history import set_aside, set_aside_after, take_records

ELSEWHERE = Path("/dev/shm")  # noqa: S108  # another file system than that of the tests


def make_run(run: Path, checkpoints: Path) -> None:
    for step in (5, 10):
        (checkpoints / f"step_{step:08}").mkdir(parents=True)
        (checkpoints / f"step_{step:08}/state.json").write_text("{}")
    run.mkdir(exist_ok=True)
    (run / "latest").write_text("step_00000010\n")
    (run / "metrics.jsonl").write_text('{"step": 5}\n{"step": 10}\n')


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[Path]:
    """A run whose checkpoints are on another file system."""
    if not ELSEWHERE.is_dir() or ELSEWHERE.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    with tempfile.TemporaryDirectory(dir=ELSEWHERE) as folder:
        make_run(tmp_path, Path(folder))
        (tmp_path / "checkpoints").symlink_to(folder)
        yield tmp_path


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


def test_checkpoints_on_another_file_system_are_set_aside_there(linked: Path) -> None:
    set_aside_after(linked, 5)
    aside = linked / "set_aside/01/checkpoints"
    assert (aside / "step_00000010/state.json").is_file()
    assert aside.resolve().parent.parent == (linked / "checkpoints").resolve()
    assert checkpoint_names(linked / "checkpoints") == ["step_00000005"]
    assert (linked / "latest").read_text() == "step_00000005\n"


def test_fresh_start_keeps_a_link_to_checkpoints(linked: Path) -> None:
    set_aside(linked)
    assert (linked / "checkpoints").is_symlink()
    assert not checkpoints.has_checkpoint(linked)
    assert sorted(path.name for path in (linked / "set_aside/01/checkpoints").iterdir()) == [
        "step_00000005",
        "step_00000010",
    ]


def test_relative_link_to_checkpoints_stays_valid(tmp_path: Path) -> None:
    make_run(tmp_path / "run", tmp_path / "large")
    (tmp_path / "run/checkpoints").symlink_to("../large")
    set_aside(tmp_path / "run")
    assert (tmp_path / "run/set_aside/01/checkpoints/step_00000010/state.json").is_file()


def test_records_follow_a_checkpoint_that_was_set_aside(tmp_path: Path) -> None:
    """The run's own records are of steps that led to other weights."""
    make_run(tmp_path, tmp_path / "checkpoints")
    set_aside_after(tmp_path, 5, records=True)
    atomic_write_text(tmp_path / "metrics.jsonl", '{"step": 5}\n{"step": 10, "loss": 2.0}\n')
    checkpoint = tmp_path / "set_aside/01/checkpoints/step_00000010"
    set_aside_after(tmp_path, 9, records=True)
    take_records(tmp_path, checkpoint)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 5}\n{"step": 10}\n'
    assert "loss" in (tmp_path / "set_aside/02/metrics.jsonl").read_text()
    assert (tmp_path / "set_aside/01/metrics.jsonl").read_text() == '{"step": 5}\n{"step": 10}\n'


def test_records_stay_without_others_beside_the_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path, tmp_path / "checkpoints")
    before = (tmp_path / "metrics.jsonl").read_text()
    copy = tmp_path / "kept/step_00000010"
    copy.mkdir(parents=True)
    take_records(tmp_path, copy)
    take_records(tmp_path, tmp_path / "set_aside/01/checkpoints/step_00000010")
    assert (tmp_path / "metrics.jsonl").read_text() == before
