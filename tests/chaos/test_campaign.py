"""A part of the campaign of faults, and its counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.__main__ import counted, run_block
from tests.chaos.campaign import FAMILIES
from tests.chaos.campaign.family import Bystanders, assert_one_history


def test_counts_are_those_of_the_log() -> None:
    entries: list[dict[str, object]] = [
        {"family": "mpi", "number": 5, "fault": "a stop"},
        {"family": "mpi", "number": 6, "fault": "a stop", "failure": "Traceback"},
        {"family": "local", "number": 0, "rows_trained_once": 800},
        {"family": "slurm", "number": 10, "fault": "start", "failure": "no slurmctld"},
    ]
    assert counted(entries) == {
        "faults": 2,
        "failures": 2,
        "rows_trained_once": 800,
        "by_family": {"mpi": 2},
        "by_kind": {"mpi: a stop": 2},
    }


@pytest.mark.parametrize(
    "records",
    [
        [(1, 1), (1, 3)],  # a step is left out
        [(1, 1), (2, 2), (1, 3)],  # an earlier start writes beside a later one
        [(1, 1), (1, 2)],  # the last step is missing
    ],
)
def test_a_history_with_a_gap_or_two_owners_is_a_failure(records: list[tuple[int, int]]) -> None:
    assert_one_history([(1, 1), (1, 2), (2, 2), (2, 3)], 3)
    with pytest.raises(AssertionError):
        assert_one_history(records, 3)


@pytest.mark.skipif(bool(FAMILIES["staging"].missing), reason=FAMILIES["staging"].missing)
def test_faults_of_staging(tmp_path: Path) -> None:
    entries: list[dict[str, object]] = []
    with Bystanders(tmp_path / "bystanders") as bystanders:
        run_block(FAMILIES["staging"], tmp_path / "block", 7, range(12), bystanders, tmp_path / "log", entries)
    assert [entry.get("failure") for entry in entries] == [None] * 13
    assert len((tmp_path / "log").read_text().splitlines()) == 13


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_minutes_of_the_campaign(tmp_path: Path) -> None:
    """The counts are printed with `pytest -m slow -s tests/chaos`."""
    argv = [sys.executable, "-m", "tests.chaos", "--faults", "1000", "--seed", "1", "--minutes", "10"]
    log = tmp_path / "chaos.jsonl"
    ended = subprocess.run([*argv, "--log", str(log)], stdout=subprocess.PIPE, text=True, check=False)
    counts = json.loads(ended.stdout.splitlines()[-1])
    print(json.dumps(counts))
    failures = [entry for line in log.read_text().splitlines() if "failure" in (entry := json.loads(line))]
    assert failures == []
    assert ended.returncode == 0
    assert counts["faults"] >= 5
