"""The runner of ranks: results, failures, and no processes left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from tests.distributed import ranks


def _introduce(name: str) -> list[object]:
    return [name, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])]


def _fail_on_rank_1(folder: str) -> None:
    rank = os.environ["RANK"]
    Path(folder, f"{rank}.pid").write_text(str(os.getpid()))
    if rank == "1":
        raise RuntimeError("this one fails")
    time.sleep(1_000)


def _speak() -> None:
    print("noise")


def test_results_are_ordered_by_rank() -> None:
    assert ranks.run(_introduce, 2, "n", quiet=True) == [["n", 0, 2], ["n", 1, 2]]


def test_a_failing_rank_shows_its_traceback_and_ends_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ranks.RankError, match="RuntimeError: this one fails") as failure:
        ranks.run(_fail_on_rank_1, 2, str(tmp_path))
    assert failure.value.exit_codes == [None, 1]
    assert time.monotonic() - started < 100  # the time limit is 120
    assert not any(psutil.pid_exists(int(path.read_text())) for path in tmp_path.glob("*.pid"))


def test_a_rank_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ranks.RankError) as failure:
        ranks.run(time.sleep, 1, 60, timeout_s=0.5)
    assert failure.value.exit_codes == [None]


def test_quiet_rank_fails_if_it_prints() -> None:
    with pytest.raises(ranks.RankError, match="noise"):
        ranks.run(_speak, 1, quiet=True)
