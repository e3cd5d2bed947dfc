"""Damage of metrics.jsonl never ends anything: damaged lines are left out and counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.records import record_line
from configs.run_layout import METRICS
from pretrain.telemetry.metrics_file import LONGEST_LINE, Records, cut_back, read_metrics, tail_of_metrics

Lines = list[bytes]


def line_of(step: int, **values: Any) -> bytes:
    return record_line({"step": step, "loss": 1.25 + step, "rows": "ab12", "skipped": False} | values).encode() + b"\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write(tmp_path, [line_of(step) for step in range(1, 11)])
    return tmp_path


def write(run: Path, lines: Lines) -> None:
    (run / METRICS).write_bytes(b"".join(lines))


def read_lines(run: Path) -> Lines:
    return (run / METRICS).read_bytes().splitlines(keepends=True)


def steps(run: Path) -> list[int]:
    return [record["step"] for record in read_metrics(run)]


def _replaced(number: int, content: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:number], content, *lines[number + 1 :]]


DAMAGES: dict[str, tuple[Callable[[Lines], Lines], set[int]]] = {
    "NUL bytes": (_replaced(4, b"\0" * 80 + b"\n"), {5}),
    "empty line": (lambda lines: [*lines[:4], b"\n", *lines[4:]], set()),
    "half a line, appended to": (lambda lines: [*lines[:4], lines[4][:40] + lines[5], *lines[6:]], {5, 6}),
    "not UTF-8": (_replaced(4, line_of(5).replace(b"ab12", b"\xff\xfe")), {5}),
    "a list": (_replaced(4, b"[1, 2]\n"), {5}),
    "no step": (_replaced(4, b'{"loss": 1.0}\n'), {5}),
    "step of another type": (_replaced(4, b'{"step": "5"}\n'), {5}),
    "loss of another type": (_replaced(4, line_of(5, loss="low")), {5}),
    "nested loss": (_replaced(4, line_of(5, loss=[1.0])), {5}),
    "nested too deeply": (_replaced(4, b"[" * 50_000 + b"\n"), {5}),
    "a huge integer": (_replaced(4, b'{"step": ' + b"9" * 5_000 + b"}\n"), {5}),
    "NaN": (_replaced(4, b'{"step": 5, "loss": NaN}\n'), {5}),
    "too large for a float": (_replaced(4, b'{"step": 5, "loss": 1e999}\n'), {5}),
    "a long line": (_replaced(4, b'{"step": 5, "rows": "' + b"a" * LONGEST_LINE + b'"}\n'), {5}),
    "an earlier step again": (lambda lines: [*lines[:5], line_of(2), *lines[5:]], set()),
    "a flipped digit of a loss": (_replaced(4, line_of(5).replace(b"6.25", b"7.25")), {5}),
    "a flipped digit of a step": (_replaced(4, line_of(5).replace(b'"step": 5', b'"step": 7')), {5}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_lines_are_left_out_and_counted(run: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    spoil, lost = DAMAGES[damage]
    write(run, spoil(read_lines(run)))
    assert steps(run) == [step for step in range(1, 11) if step not in lost]
    assert "damaged line(s) are left out" in caplog.text
    assert tail_of_metrics(run, size=2 * LONGEST_LINE).left_out >= 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_resumes_with_damaged_records(run: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    spoil, lost = DAMAGES[damage]
    write(run, spoil(read_lines(run)))
    assert cut_back(run / METRICS, 8).resumed["step"] == 8
    assert steps(run) == [step for step in range(1, 9) if step not in lost]
    assert "damaged line(s) are kept" in caplog.text
    assert (f"the records of {len(lost)} step(s) up to step 8 are missing" in caplog.text) == bool(lost)


def test_every_flipped_bit_of_a_line_is_noticed() -> None:
    line, draw = line_of(12345, grad_norm=0.123456), random.Random(1)
    for _ in range(400):
        spoiled = bytearray(line)
        spoiled[draw.randrange(len(line) - 1)] ^= 1 << draw.randrange(8)
        assert Records([bytes(spoiled)]).merged in ([], Records([line]).merged), spoiled


def test_lines_of_an_earlier_version_have_no_checksum(tmp_path: Path) -> None:
    write(tmp_path, [b'{"step": 1, "valid_mlm_loss": 2.0}\n', b'{"step": 2}\n', b'{"st'])
    assert read_metrics(tmp_path) == [{"step": 1, "valid_mlm_loss": 2.0}, {"step": 2}]
    cut_back(tmp_path / METRICS, 5)
    assert (tmp_path / METRICS).read_text() == '{"step": 1, "valid_mlm_loss": 2.0}\n{"step": 2}\n'


def test_missing_records_are_reported_at_a_resume(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(run, read_lines(run)[:6])
    assert cut_back(run / METRICS, 10).resumed == {}
    assert "the records of 4 step(s) up to step 10 are missing" in caplog.text


def test_an_evaluation_is_merged_into_its_step(run: Path) -> None:
    evaluation = record_line({"step": 4, "valid_mlm_loss": 3.0}).encode() + b"\n"
    write(run, [*read_lines(run)[:4], evaluation, *read_lines(run)[4:]])
    assert steps(run) == list(range(1, 11))
    assert read_metrics(run)[3]["valid_mlm_loss"] == 3.0
    assert json.loads(read_lines(run)[4])["valid_mlm_loss"] == 3.0
    assert cut_back(run / METRICS, 4).resumed["valid_mlm_loss"] == 3.0
    assert len(read_lines(run)) == 5
