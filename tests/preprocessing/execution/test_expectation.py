"""A preparation says what it expects to take, and refuses a disk that is too small."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.documents import Progress, find_files, make_plan
from preprocessing.execution import stages
from preprocessing.execution.engines import run_pipeline
from preprocessing.execution.expectation import Expectation, expect, refuse_small_disk, warn_of_large_items
from preprocessing.pipeline import prepare
from preprocessing.storage import store_at
from tests.preprocessing.compressed import IN_UNITS
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
    assert five.seconds == pytest.approx((5 / 17 + 5 * 5 / 85) / 2 + 6)
    assert (one.temporary, one.disk) == (0, one.shards)
    assert expected(small_config(tmp_path / "data", corpus)).temporary == pytest.approx(1.5 * 5e6)


def test_expected_time_covers_near_duplicates_and_the_training_of_a_vocabulary(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("word " * 12_000_000)
    given = {"vocabulary": {"file": str(tmp_path / "vocab.txt")}}
    exact, near = (
        expected(small_config(tmp_path / "data", corpus, duplicates=duplicates, **given), workers=2)
        for duplicates in ("exact", "near")
    )
    assert near.seconds - exact.seconds == pytest.approx(60 / 6 / 2)
    trained = expected(small_config(tmp_path / "data", corpus, duplicates="exact"), workers=2)
    assert trained.seconds - exact.seconds == pytest.approx(60 / 5)


def test_a_small_corpus_starts_no_process_in_any_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for the comparison of documents, which has many units of little work."""
    started = []

    def note(build: Any, engine: Any, workers: int, *rest: Any) -> None:
        started.append(workers)
        run_pipeline(build, engine, workers, *rest)

    monkeypatch.setattr(stages, "usable_cores", lambda: 64)
    monkeypatch.setattr(stages, "run_pipeline", note)
    corpus = write_text(tmp_path / "corpus.txt", make_documents(60))
    prepare(small_config(tmp_path / "data", corpus, duplicates="near", workers=0))
    assert set(started) == {1}
    assert len(started) >= 4


@pytest.mark.parametrize(
    ("given", "items", "size", "processes"),
    [
        (0, 100, 1_000_000, 1),
        (0, 100, 25_000_000, 2),
        (0, 100, 10**9, 3),
        (0, 2, 10**9, 2),
        (8, 100, 1, 8),
        (8, 2, 1, 2),
    ],
)
def test_processes_follow_cores_memory_and_work(
    monkeypatch: pytest.MonkeyPatch, given: int, items: int, size: int, processes: int
) -> None:
    monkeypatch.setattr(stages, "usable_cores", lambda: 64)
    monkeypatch.setattr(stages, "usable_memory_bytes", lambda: 3 << 30)
    assert stages.process_count(given, items, size) == processes


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
    large = tmp_path / "large"
    room = {True: Usage(10**12, 0, 10**12), False: Usage(10_000, 0, 10_000)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room[Path(path).is_relative_to(large)])
    large.mkdir()
    prepare(config.model_copy(update={"dataset": str(large / "data")}))
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


TEXT = b"A sentence. Another one.\n\n" * 2_000
PARTS = [TEXT[:20_000], TEXT[20_000:40_000], TEXT[40_000:]]


def warning(caplog: pytest.LogCaptureFixture, path: Path, content: bytes, **changes: Any) -> str:
    """Return what is said about the plan of one file."""
    caplog.clear()
    path.write_bytes(content)
    config = small_config(path.parent / "dataset", path, **changes)
    warn_of_large_items(make_plan([find_files(corpus.paths) for corpus in config.corpora], config), config)
    return caplog.text


@pytest.mark.parametrize(
    ("suffix", "advice"),
    [
        (".gz", "compress it with bgzip, which writes many members, or set data.unpack=true"),
        (".xz", "compress it with xz -T0, which writes many blocks, or set data.unpack=true"),
        (".zst", "compress it with pzstd, which writes many frames, or set data.unpack=true"),
    ],
)
def test_a_compressed_file_that_one_worker_must_read_is_named_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, advice: str
) -> None:
    numbers = " ".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(2_000)).encode()
    path, parts = tmp_path / f"a{suffix}", [numbers[start : start + 4_000] for start in range(0, len(numbers), 4_000)]
    said = warning(caplog, path, IN_UNITS[suffix]([numbers]))
    assert f"one worker reads and cleans {path} (100% of the input), which cannot be cut" in said
    assert advice in said
    assert warning(caplog, path, IN_UNITS[suffix]([numbers]), unpack=True) == ""
    assert warning(caplog, path, IN_UNITS[suffix](parts)) == ""


def test_a_small_compressed_file_is_not_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warning(caplog, tmp_path / "a.gz", gzip.compress(TEXT)) == ""


@pytest.mark.parametrize(
    ("corpus", "advice"),
    [({"format": "csv"}, "divide it into several files"), ({"format": "text", "encoding": "latin-1"}, "UTF-8")],
)
def test_a_file_that_holds_most_of_the_input_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, corpus: dict[str, str], advice: str
) -> None:
    path = tmp_path / "large"
    corpora = [{"paths": [str(path)], **corpus}]
    with path.open("wb") as file:
        file.truncate(130_000_000)
    config = small_config(tmp_path / "dataset", corpora=corpora, group_bytes=64_000_000)
    plan = make_plan([find_files([str(path)])], config)
    warn_of_large_items(plan, config)
    assert advice in caplog.text


def test_unpacked_files_and_parts_are_part_of_the_expected_disk(tmp_path: Path) -> None:
    numbers = " ".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(2_000)).encode()
    packed = gzip.compress(numbers)
    (tmp_path / "a.gz").write_bytes(packed)

    def temporary(**changes: Any) -> float:
        config = small_config(tmp_path / "dataset", tmp_path / "a.gz", **changes)
        return expect(make_plan([find_files(corpus.paths) for corpus in config.corpora], config), config, 1).temporary

    assert temporary(unpack=True) == temporary() + 4 * len(packed)
    assert 0 < temporary(duplicates="none") == temporary()
