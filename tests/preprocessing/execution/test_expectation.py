"""A preparation says what it expects to take, and refuses a disk that is too small."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.documents import Progress, find_files, make_plan
from preprocessing.execution.expectation import Expectation, expect, refuse_small_disk
from preprocessing.pipeline import prepare
from preprocessing.storage import store_at
from tests.preprocessing.corpora import make_documents, small_config, write_text


def expected(config: DataConfig, workers: int = 1) -> Expectation:
    return expect(make_plan([find_files(corpus.paths) for corpus in config.corpora], config), config, workers)


def test_expectation_follows_text_passes_and_workers(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("word " * 1_000_000)
    base = {"duplicates": "none", "vocabulary": {"file": str(tmp_path / "vocab.txt")}}
    one = expected(small_config(tmp_path / "data", corpus, **base, dupe_factor=1))
    five = expected(small_config(tmp_path / "data", corpus, **base, dupe_factor=5), workers=2)
    assert one.shards == pytest.approx(0.69 * 5e6)
    assert five.shards == pytest.approx(5 * one.shards)
    assert five.seconds == pytest.approx((5 / 17 + 5 * 5 / 85) / 2)
    assert (one.temporary, one.disk) == (0, one.shards)
    assert expected(small_config(tmp_path / "data", corpus)).temporary == pytest.approx(1.5 * 5e6)


def test_expected_disk_is_about_what_the_data_set_takes(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(400))
    config = small_config(tmp_path / "data", corpus, max_seq_length=128, dupe_factor=4)
    manifest = prepare(config)
    made = sum(shard.bytes for shard in manifest.shards)
    assert 0.2 < expected(config).shards / made < 5  # the words of this text are not of English


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_disk_that_is_too_small_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(100))
    config = small_config(tmp_path / "data", corpus)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10_000, 0, 10_000))
    with pytest.raises(UserError, match=r"the disk has room for 0.0 MB, and the preparation expects about") as refused:
        prepare(config)
    assert "data.dataset" in refused.value.fix
    assert not (tmp_path / "data").exists()
    monkeypatch.undo()
    prepare(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10_000, 0, 10_000))
    prepare(config)  # a finished data set needs no room


def test_disk_that_may_be_too_small_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    room = store_at(str(tmp_path)).room_bytes()
    assert room is not None
    assert room > 0
    refuse_small_disk(Expectation(room / 2, 0, 1), store_at(str(tmp_path / "not" / "made")))
    assert not caplog.records
    refuse_small_disk(Expectation(room * 1.1, 0, 1), store_at(str(tmp_path)))
    assert "the disk has room for" in caplog.text


def test_progress_carries_what_is_expected(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(60))
    seen: list[Progress] = []
    prepare(small_config(tmp_path / "data", corpus), progress=seen.append)
    assert {each.expected for each in seen} == {str(expected(small_config(tmp_path / "data", corpus)))}
    assert str(Expectation(1.5e9, 2e6, 61)) == (
        "expects about 1.5 GB of disk (2.0 MB of it until the end) and 0:01:01 of work"
    )
