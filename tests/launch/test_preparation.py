from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launch.preparation import Display, summary, waiting_for
from preprocessing.contract import read_manifest
from preprocessing.progress import Progress
from preprocessing.share import Share
from tests.preprocessing.test_verify import dataset as dataset

START = Progress("vocabulary", bytes_read=0, bytes_total=40_000_000, documents=0, groups=0, seconds=0.0)


def plain_screen() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=200, highlight=False), stream


def test_off_a_terminal_a_line_now_and_then() -> None:
    screen, stream = plain_screen()
    display = Display(screen, every_s=10)
    for second in range(26):
        display(replace(START, bytes_read=second * 1_000_000, documents=second * 1000, seconds=float(second)))
    assert stream.getvalue().splitlines() == [
        "Reading a sample for the vocabulary: 25%  1.0 MB/s  10,000 documents  0 groups",
        "Reading a sample for the vocabulary: 50%  1.0 MB/s  20,000 documents  0 groups",
    ]


def test_the_rate_is_that_of_the_stage() -> None:
    screen, stream = plain_screen()
    display = Display(screen, every_s=10)
    display(replace(START, bytes_read=40_000_000, seconds=5.0))
    display(replace(START, stage="groups", seconds=6.0))
    display(replace(START, stage="groups", bytes_read=20_000_000, documents=9, groups=2, seconds=16.0))
    assert stream.getvalue() == "Making pairs: 50%  2.0 MB/s  9 documents  2 groups\n"


def test_on_a_terminal_a_bar() -> None:
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=120, color_system=None)
    display = Display(screen)
    with display.bar:
        display(START)
        display(replace(START, bytes_read=10_000_000, documents=7, seconds=2.0))
        display.bar.refresh()
    assert "25%  5.0 MB/s  7 documents" in stream.getvalue()


def test_the_closing_table(dataset: Path) -> None:
    manifest = read_manifest(dataset).model_copy(update={"drops": {"too_short": 3, "invalid_utf8": 1}})
    screen, stream = plain_screen()
    screen.print(summary(manifest, seconds=2.0))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    tokens = sum(shard.tokens for shard in manifest.shards)
    assert lines[0] == "text 0.0 MB in 3 documents, 9 sentences"
    assert "held out 1 documents" in lines
    assert "pairs 120 in 2 passes" in lines
    assert f"tokens {tokens:,}, of a vocabulary of 50" in lines
    assert lines[-2:] == ["dropped or repaired 1 invalid utf8, 3 too short", "time 2.0 s, 0.0 MB/s"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ([3], "share 3 of 8 is not finished"),
        ([2, 5], "shares 2 and 5 of 8 are not finished"),
        ([1, 2, 5], "shares 1, 2 and 5 of 8 are not finished"),
    ],
)
def test_who_is_missing_is_told(missing: list[int], message: str) -> None:
    assert waiting_for(missing, Share(1, 8)) == message
