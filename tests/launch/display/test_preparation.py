from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from configs.errors import UserError
from configs.schema import DataConfig
from launch.cli import app
from launch.display import preparation
from launch.display.preparation import Display, prepare_with_progress, summary, unfinished_shares
from preprocessing import pipeline
from preprocessing.dataset.manifest import MANIFEST, read_manifest
from preprocessing.documents.progress import Progress
from preprocessing.resuming.share import Share
from preprocessing.storage.url_store import UrlStore
from preprocessing.vocabulary.training import train_vocabulary
from tests.preprocessing.corpora import make_documents, small_config, write_text
from tests.preprocessing.inspection.test_verification import dataset as dataset
from tests.preprocessing.not_local import SCHEME

START = Progress(
    "vocabulary", bytes_read=0, bytes_total=40_000_000, documents=0, groups=0, seconds=0.0, phase=3, phases=4
)


def plain_screen() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=200, highlight=False), stream


def test_progress_prints_lines_without_a_terminal() -> None:
    screen, stream = plain_screen()
    display = Display(screen, every_s=10)
    for second in range(26):
        display(replace(START, bytes_read=second * 1_000_000, documents=second * 1000, seconds=float(second)))
    assert stream.getvalue().splitlines() == [
        "3/4 Sampling text for the vocabulary: 25%  1.0 MB/s  10,000 documents  0 groups  0:00:30 left",
        "3/4 Sampling text for the vocabulary: 50%  1.0 MB/s  20,000 documents  0 groups  0:00:20 left",
    ]


def test_the_rate_is_measured_per_stage() -> None:
    screen, stream = plain_screen()
    display = Display(screen, every_s=10)
    display(replace(START, bytes_read=40_000_000, seconds=5.0))
    display(replace(START, stage="groups", phase=4, seconds=6.0))
    display(replace(START, stage="groups", phase=4, bytes_read=20_000_000, documents=9, groups=2, seconds=16.0))
    assert stream.getvalue() == "4/4 Making pairs: 50%  2.0 MB/s  9 documents  2 groups  0:00:10 left\n"


def test_arguments_after_two_dashes_reach_the_runner_unchanged(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(30))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[data]\ndataset = "{tmp_path}/dataset"\n[[data.corpora]]\npaths = ["{corpus}"]\nformat = "text"\n'
    )
    runner = ["--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"]
    command = ["prepare", str(recipe), "data.vocabulary.size=150", *runner, "--", "--dask_npartitions=a b"]
    raised = CliRunner().invoke(app, command).exception
    assert isinstance(raised, UserError)
    assert raised.cause.endswith("argument --dask_npartitions: invalid int value: 'a b'")
    assert raised.place == "the runner's options"
    assert not (tmp_path / "dataset").exists()


def test_progress_shows_a_bar_on_a_terminal() -> None:
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=120, color_system=None)
    display = Display(screen)
    with display.bar:
        display(START)
        display(replace(START, bytes_read=10_000_000, documents=7, seconds=2.0))
        display.bar.refresh()
    assert "25%  5.0 MB/s  7 documents" in stream.getvalue()


def test_summary_lists_inputs_and_outputs(dataset: Path) -> None:
    manifest = read_manifest(dataset).model_copy(update={"drops": {"too_short": 3, "invalid_utf8": 1}})
    screen, stream = plain_screen()
    screen.print(summary(manifest, seconds=2.0))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    tokens = sum(shard.tokens for shard in manifest.shards)
    assert lines[0] == "text 0.0 MB in 3 documents, 9 sentences"
    assert "held out 1 documents" in lines
    assert "pairs 120 in 2 passes" in lines
    assert f"tokens {tokens:,}, vocabulary of 50" in lines
    assert lines[-2:] == ["dropped or repaired 1 invalid utf8, 3 too short", "time 2.0 s, 0.0 MB/s"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ([3], "share 3 of 8 is not finished"),
        ([2, 5], "shares 2 and 5 of 8 are not finished"),
        ([1, 2, 5], "shares 1, 2 and 5 of 8 are not finished"),
    ],
)
def test_unfinished_shares_are_named(missing: list[int], message: str) -> None:
    assert unfinished_shares(missing, Share(1, 8)) == message


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Send SIGTERM to this process after the number of finished groups under the key `groups`."""
    wanted = {"groups": 0}
    before = signal.getsignal(signal.SIGTERM)

    def look(_: Display, now: Progress) -> None:
        if now.stage == "groups" and now.groups >= wanted["groups"]:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Display, "__call__", look)
    monkeypatch.setattr(UrlStore, "pace_s", 0.01)
    yield wanted
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("place", ["{}", SCHEME + "://{}"])
def test_exit_code_of_a_stop_shows_whether_a_group_was_finished(
    place: str, tmp_path: Path, stopped_at: dict[str, int]
) -> None:
    """A batch script requeues the job by this code, for local data sets and for URLs."""
    corpus = write_text(tmp_path / "corpus.txt", make_documents(300))
    vocabulary = tmp_path / "vocab.txt"
    train_vocabulary([corpus.read_text()], small_config(vocabulary, corpus).vocabulary).write(vocabulary)

    def config(folder: Path, group_bytes: int) -> DataConfig:
        changes = {"group_bytes": group_bytes, "dupe_factor": 20, "vocabulary": {"file": str(vocabulary)}}
        return small_config(folder, corpus, **changes).model_copy(update={"dataset": place.format(folder)})

    one = config(tmp_path / "one group", 10_000_000).model_copy(update={"duplicates": "none"})
    assert prepare_with_progress(one) == 128 + signal.SIGTERM
    assert list(tmp_path.glob("one group/groups/0*")) == []

    folder, stopped_at["groups"] = tmp_path / "five groups", 2
    assert prepare_with_progress(config(folder, 20_000)) == 75
    assert len(list(folder.glob("groups/0*"))) >= 2
    assert not (folder / MANIFEST).exists()
    stopped_at["groups"] = 100
    assert prepare_with_progress(config(folder, 20_000)) == 0
    assert (folder / MANIFEST).exists()


@pytest.mark.parametrize("place", ["{}", SCHEME + "://{}"])
def test_a_trained_vocabulary_is_finished_work(
    place: str, tmp_path: Path, stopped_at: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sample that an earlier run finished is not trained on again, however early the next run is stopped."""
    corpus, folder = write_text(tmp_path / "corpus.txt", make_documents(300)), tmp_path / "dataset"
    config = small_config(folder, corpus, duplicates="none").model_copy(update={"dataset": place.format(folder)})

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "train_vocabulary", stop)
        assert prepare_with_progress(config) == 75
    assert not (folder / "vocab.txt").exists()
    capsys.readouterr()

    assert prepare_with_progress(config) == 75
    assert "1 trained vocabulary (1 trained vocabulary of this run); run" in capsys.readouterr().err
    trained = (folder / "vocab.txt").stat().st_mtime_ns
    assert prepare_with_progress(config) == 128 + signal.SIGTERM
    assert (folder / "vocab.txt").stat().st_mtime_ns == trained


class SignalledAtItsEnd:
    """Sends SIGTERM in its destructor, where Python drops the exception that a signal handler raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_in_a_destructor_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object, **__: object) -> None:
        SignalledAtItsEnd()
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s:
            time.sleep(0.01)
        raise AssertionError("the signal was lost")

    monkeypatch.setattr(preparation, "prepare", work)
    assert prepare_with_progress(small_config(tmp_path / "dataset", tmp_path)) == 128 + signal.SIGTERM
    assert "Traceback" not in capsys.readouterr().err


def test_further_signals_do_not_interrupt_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many press Ctrl-C again, and schedulers send SIGTERM to a process and then to its group."""
    ended: list[str] = []

    def work(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.5)
            try:
                raise ValueError
            except ValueError:
                signal.raise_signal(signal.SIGINT)
            ended.append("orderly")

    monkeypatch.setattr(preparation, "prepare", work)
    assert prepare_with_progress(small_config(tmp_path / "dataset", tmp_path)) == 128 + signal.SIGTERM
    assert ended == ["orderly"]


def test_a_further_signal_interrupts_an_end_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.3)
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the end was not interrupted")

    monkeypatch.setattr(preparation, "prepare", work)
    monkeypatch.setattr("configs.machine.interrupts._END_S", 0.1)
    assert prepare_with_progress(small_config(tmp_path / "dataset", tmp_path)) == 128 + signal.SIGTERM


def test_what_is_expected_is_said_once_before_the_work() -> None:
    screen, stream = plain_screen()
    display = Display(screen, every_s=10)
    for stage, seconds in (("input", 0.0), ("groups", 1.0), ("groups", 2.0)):
        display(replace(START, stage=stage, seconds=seconds, expected="expects about 1 GB"))
    assert stream.getvalue() == "expects about 1 GB\n"
