"""The records of starts."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.run_layout import start_folder
from launch.ranks import starts
from pretrain.checkpoint import claim_start, newest_start


def test_numbers_are_taken_once_even_at_the_same_moment(tmp_path: Path) -> None:
    barrier = threading.Barrier(16)

    def claim(_: int) -> int:
        barrier.wait()
        return claim_start(tmp_path)

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(claim, range(16))) == list(range(1, 17))
    assert newest_start(tmp_path) == 16


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    folder = start_folder(tmp_path, 1)
    folder.mkdir(parents=True)
    (folder / "end.json").write_text(
        json.dumps({"code": 75, "comes_back": True, "reason": "stopped", "without_node": ""})
    )
    (folder / "rank_00002.json").write_text(
        json.dumps({"rank": 2, "node": "n1", "code": 1, "guilt": 2, "error": "x", "time": 1.0})
    )
    assert starts.read_verdict(tmp_path, 1) == starts.Verdict(75, True, "stopped")
    assert starts.read_ends(tmp_path, 1) == [starts.RankEnd(2, "n1", 1, 2, "x", 1.0)]


def test_a_rank_that_has_begun_is_known(tmp_path: Path) -> None:
    start = starts.begin_start(tmp_path, "7", is_first=True, nodes=["n1"], ranks=2)
    starts.record_begin(tmp_path, start.number, 1, "n1")
    (start_folder(tmp_path, start.number) / "begun" / "rank_00000~").touch()  # of an editor
    (start_folder(tmp_path, start.number) / "begun" / "rank_old").touch()
    assert starts.ranks_begun(tmp_path, start.number) == {1}


def test_a_full_disk_does_not_end_a_rank_that_begins(tmp_path: Path) -> None:
    starts.record_begin(tmp_path / "missing", 1, 0, "n1")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"ranks": null}', '{"number": "one"}', "\0", "[]"])
def test_a_damaged_record_of_a_start_is_skipped(tmp_path: Path, content: str) -> None:
    for number in (1, 2):
        folder = tmp_path / "starts" / f"{number:04}"
        folder.mkdir(parents=True)
        fields = {"number": number, "job": "", "is_first": True, "nodes": ["n1"], "ranks": 1, "step": 0, "time": 0.0}
        (folder / "start.json").write_text(json.dumps(fields))
    (tmp_path / "starts" / "0002" / "start.json").write_text(content)
    assert [start.number for start in starts.read_starts(tmp_path)] == [1]


@pytest.mark.parametrize("name", ["start.json", "end.json", "rank_00000.json"])
def test_every_flipped_bit_of_a_record_of_a_start_is_noticed(tmp_path: Path, name: str) -> None:
    starts.begin_start(tmp_path, "process 17 on n1", is_first=True, nodes=["n1"], ranks=1)
    starts.record_end(tmp_path, 1, starts.RankEnd(0, "n1", 2, 1, "error: it is so", 17.0))
    starts.record_verdict(tmp_path, 1, starts.Verdict(1, True, "rank 0 on n1: it is so", "n1"))

    def found() -> tuple[object, ...]:
        return *starts.read_starts(tmp_path), *starts.read_ends(tmp_path, 1), starts.read_verdict(tmp_path, 1)

    file, whole = start_folder(tmp_path, 1) / name, found()
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert all(one in (*whole, None) for one in found())


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"\0" * 5_000, b"", b"start 1\n"])
def test_a_damaged_request_stops_nobody(tmp_path: Path, content: bytes) -> None:
    start = starts.begin_start(tmp_path, "7", is_first=True, nodes=["n1"], ranks=1)
    (tmp_path / "stop").write_bytes(content)
    assert starts.is_stop_requested(tmp_path, start) is (content == b"start 1\n")
    os.truncate(tmp_path / "stop", 1 << 40)  # sparse
    assert not starts.is_stop_requested(tmp_path, start)
