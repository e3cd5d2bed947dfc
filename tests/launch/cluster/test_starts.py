from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.run_layout import STOP
from launch.cluster import starts
from launch.cluster.starts import RankEnd, Start, Verdict, judge

START = Start(1, "7", True, ["n1", "n2"], ranks=4, step=0, time=0.0)


def ends(*codes: int) -> list[RankEnd]:
    return [RankEnd(rank, f"n{1 + rank // 2}", code, time=float(rank)) for rank, code in enumerate(codes)]


def save(run: Path, step: int) -> None:
    folder = run / "checkpoints" / f"step_{step:08}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_recipe(load_recipe("demo", ["cluster.max_restarts=2"]), tmp_path / "recipe.toml")
    return tmp_path


def restart(run: Path, *, is_first: bool = False) -> Start:
    return starts.begin_start(run, "7", is_first=is_first, nodes=["n1", "n2"], ranks=4)


def test_all_done_is_done() -> None:
    assert judge(START, ends(0, 0, 0, 0), was_stopped=False) == Verdict(0, False, "done")


def test_stopped_with_a_checkpoint_requeues_unless_stopped_by_the_user() -> None:
    assert judge(START, ends(75, 75, 75, 75), was_stopped=False).comes_back
    assert not judge(START, ends(75, 75, 75, 75), was_stopped=True).comes_back


def test_user_error_does_not_requeue() -> None:
    verdict = judge(START, [*ends(75, 1, 143), RankEnd(3, "n2", 2, error="error: no")], was_stopped=False)
    assert verdict == Verdict(2, False, "error: no")


def test_the_cause_is_not_a_lost_connection() -> None:
    failed = [
        RankEnd(0, "n1", 1, guilt=2, error="Connection closed by peer", time=1.0),
        RankEnd(1, "n1", 143, time=0.5),  # ended by the scheduler
        RankEnd(2, "n2", 1, guilt=1, error="CUDA error", time=1.1),
        RankEnd(3, "n2", 1, guilt=1, error="another", time=1.2),
    ]
    assert judge(START, failed, was_stopped=False) == Verdict(1, True, "rank 2 on n2: CUDA error", "n2")


def test_a_rank_without_record_is_the_cause_of_lost_connections() -> None:
    effects = [RankEnd(rank, "n1", 1, guilt=2, error="Connection closed by peer") for rank in (0, 1)]
    verdict = judge(START, effects, was_stopped=False)
    assert verdict == Verdict(1, True, "rank 2 on n2: ended without an error message", "n2")


def test_starts_without_a_checkpoint_are_limited(run: Path) -> None:
    assert [restart(run, is_first=True).number, restart(run).number, restart(run).number] == [1, 2, 3]
    with pytest.raises(UserError, match=r"3 starts in a row saved no new checkpoint .*max_restarts is 2"):
        restart(run)


def test_a_checkpoint_or_a_start_by_the_user_resets_the_count(run: Path) -> None:
    for _ in range(3):
        restart(run)
    save(run, 10)
    assert restart(run).step == 10
    assert starts.starts_without_checkpoint(run) == 1
    restart(run)
    restart(run, is_first=True)
    assert starts.starts_without_checkpoint(run) == 1


def test_the_limit_also_applies_at_the_end_of_a_start(run: Path) -> None:
    restart(run, is_first=True)
    restart(run)
    last = restart(run)
    verdict = starts.end_start(run, last)
    assert not verdict.comes_back
    assert "giving up" in verdict.reason
    assert starts.read_verdict(run, 3) == verdict


def test_a_start_by_the_user_removes_the_stop_file(run: Path) -> None:
    (run / STOP).touch()
    restart(run, is_first=True)
    assert not (run / STOP).exists()


def test_half_written_checkpoint_is_no_progress(run: Path) -> None:
    (run / "checkpoints" / "step_00000009").mkdir(parents=True)
    assert starts.newest_step(run) == 0
