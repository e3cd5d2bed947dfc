"""The account of a run's wall time, over several starts."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.telemetry.goodput import Account, goodput_share, goodput_text, losses, process_began


def run_of_two_starts() -> dict[str, Any]:
    """Ten steps of 10 s, the last of which is skipped; a failure after step 7, and a resume from step 5."""
    first = Account({}, None, began=1_000.0)
    records = []
    clock = 1_020.0  # 20 s to start
    for step in range(1, 8):
        clock += 10
        records.append({"step": step, "time_s": 10.0 * step} | first.step(10.0 * step, None, skipped=False, now=clock))
    second = Account(records[4], records[-1]["clock"], began=clock + 50)
    second.add("evaluations", 5.0)  # made up before the first step
    clock += 50 + 30 + 5
    record = records[4]
    for step in range(6, 11):
        clock += 10 + (2 if step == 8 else 0)
        account = second.step(10.0 * step, 2.0 if step == 8 else None, skipped=step == 10, now=clock)
        record = {"step": step, "time_s": 10.0 * step} | account
    return record


def test_wall_time_is_counted_or_lost_by_cause() -> None:
    record = run_of_two_starts()
    lost = {name: value for name, value in record.items() if name.startswith("lost_")}
    assert lost == {
        "lost_starts_s": 50.0,  # 20 and 30
        "lost_saves_s": 2.0,
        "lost_evaluations_s": 5.0,
        "lost_skipped_s": 10.0,
        "lost_repeated_s": 20.0,  # steps 6 and 7
        "lost_down_s": 50.0,
    }
    assert record["wall_s"] == 90.0 + sum(lost.values())
    assert goodput_share(record) == pytest.approx(90 / 227)
    assert sum(losses(record).values()) == pytest.approx(1 - 90 / 227)
    assert goodput_text(record).startswith("39.6% (lost: starting 22.0%, no start running 22.0%, repeated steps 8.8%")


def test_a_run_of_an_earlier_version_continues_without_losses() -> None:
    account = Account({"step": 5, "time_s": 50.0}, None, began=1_000.0)
    record = {"time_s": 60.0} | account.step(60.0, None, skipped=False, now=1_010.0)
    assert goodput_share(record) == 1.0
    assert goodput_text(record) == "100.0%"
    assert goodput_text({"step": 5, "time_s": 50.0}) == ""


def test_a_clock_that_goes_back_loses_nothing() -> None:
    account = Account({"step": 5, "time_s": 50.0, "clock": 2_000.0, "wall_s": 60.0}, 2_020.0, began=1_500.0)
    record = {"time_s": 60.0} | account.step(60.0, None, skipped=False, now=1_600.0)
    assert all(value >= 0 for name, value in record.items() if name.startswith("lost_"))
    share = goodput_share(record)
    assert share is not None
    assert 0 <= share <= 1


def test_the_process_began_in_the_past() -> None:
    import time

    assert 0 < time.time() - process_began() < 86_400
