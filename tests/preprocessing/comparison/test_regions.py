"""Records come back by region, in the order in which they were added, however much is kept in memory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from preprocessing.comparison import regions
from preprocessing.comparison.regions import RegionWriter, read_region
from preprocessing.storage.local_store import LocalStore
from tests.limits import no_file_above

RECORD = np.dtype([("place", "<u8"), ("odd", "<u4")])


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=6), st.sampled_from([1, 30, 1 << 20]))
def test_regions_hold_what_was_added(batches: list[list[int]], buffer: int) -> None:
    expected: list[list[int]] = [[] for _ in range(7)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_BUFFER_BYTES", buffer)
        store, place = LocalStore(Path(folder)), 0
        with RegionWriter(7, RECORD) as writer:
            for batch in batches:
                records = np.zeros(len(batch), RECORD)
                records["place"] = np.arange(place, place + len(batch))
                writer.add(np.array(batch, np.int64), records)
                for region in batch:
                    expected[region].append(place)
                    place += 1
            writer.write(store, "file")
        found = [
            [n for part in read_region(store, "file", r, RECORD) for n in part["place"].tolist()] for r in range(7)
        ]
        assert found == expected
        assert (Path(folder) / "file").stat().st_size == 8 * 8 + 7 * 4 + place * RECORD.itemsize


@pytest.mark.parametrize("buffer", [1, 1 << 20])
def test_no_damage_changes_a_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    monkeypatch.setattr(regions, "_BUFFER_BYTES", buffer)
    store, records = LocalStore(tmp_path), np.zeros(9, RECORD)
    records["place"] = np.arange(9)
    with RegionWriter(3, RECORD) as writer:  # the second region is empty
        writer.add(np.array([0, 2] * 4 + [2]), records)
        writer.write(store, "file")
    whole = (tmp_path / "file").read_bytes()
    expected = [[0, 2, 4, 6], [], [1, 3, 5, 7, 8]]
    flipped = [whole[:n] + bytes([whole[n] ^ mask]) + whole[n + 1 :] for n in range(len(whole)) for mask in (1, 0x80)]
    for damage in (*flipped, *(whole[:n] for n in range(len(whole)))):
        intact = []
        for region in range(3):
            (tmp_path / "file").write_bytes(damage)
            with suppress(UserError):
                found = [n for part in read_region(store, "file", region, RECORD) for n in part["place"].tolist()]
                assert found == expected[region]
                intact.append(region)
            assert (tmp_path / "file").exists() == (region in intact)  # a damaged one is removed, and made again
        assert len(intact) < 3


def test_a_full_temporary_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(regions, "_BUFFER_BYTES", 1)
    with no_file_above(1_000), RegionWriter(2, RECORD) as writer, pytest.raises(UserError) as raised:
        writer.add(np.zeros(1_000, np.int64), np.zeros(1_000, RECORD))
    assert raised.value.place == str(tmp_path)
    assert "ulimit -f" in raised.value.fix
