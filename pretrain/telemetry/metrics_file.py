"""Read metrics.jsonl, and cut it back when a run resumes from an earlier step. Imports no torch.

The file has one line per step and one more after each evaluation. Readers merge the two and leave damaged lines out:
records describe a run, so that a damaged one never ends training, and what is left out is counted and reported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from configs.files import atomic_write, open_regular
from configs.records import parse_line
from configs.run_layout import METRICS

LONGEST_LINE = 1 << 20  # bytes; a longer line is damaged
TEXTS = ("rows", "fault")  # every other value is a number, true, false or null
VALID = "valid_"  # prefix of an evaluation's values

log = logging.getLogger(__name__)


class Records:
    """The records of consecutive lines, merged by step, and the number of damaged lines between them."""

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self.merged: list[dict[str, Any]] = []
        self.left_out = 0
        for line in lines:
            self.add(line)

    def add(self, line: bytes) -> int | None:
        """Add a line. Returns its step, or None if it is damaged."""
        record = parse_line(line)
        last = self.merged[-1]["step"] if self.merged else 0
        if record is None or not _is_sound(record):
            self.left_out += 1
            return None
        if record["step"] > last:
            self.merged.append(record)
        elif record["step"] == last and _is_evaluation(record):
            self.merged[-1] |= record
        else:
            self.left_out += 1
            return None
        return int(record["step"])


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return all records of a run, in step order, with evaluations merged into their steps.

    Damaged lines are left out, with a warning that counts them.
    """
    records = Records(complete_lines(run / METRICS))
    if records.left_out:
        log.warning("%s: %d damaged line(s) are left out", run / METRICS, records.left_out)
    return records.merged


def tail_of_metrics(run: Path, size: int = 1 << 16) -> Records:
    """Return the records in the last `size` bytes, without reading the whole file, which can be gigabytes."""
    return Records(complete_lines(run / METRICS, last_bytes=size))


class Cut(NamedTuple):
    """What `cut_back` found."""

    resumed: dict[str, Any]  # the record of the step that the run resumes from; empty if there is none
    last: dict[str, Any]  # the last record of all, removed or not; empty if there is none


def cut_back(path: Path, step: int) -> Cut:
    """Remove the records after `step`, and a line truncated by a crash.

    Damaged lines before are kept, so that nothing is lost, and counted in a warning.
    """
    if not path.exists():
        return Cut({}, {})
    records, is_beyond = Records(), False
    tail = tail_of_metrics(path.parent).merged
    last = tail[-1] if tail else {}
    with atomic_write(path) as new:
        for line in complete_lines(path):
            found = _step_in(line)
            is_beyond |= found is not None and found > step
            if not is_beyond:
                records.add(line)
                new.write(line)
    _warn_of_gaps(path, records, step)
    kept = records.merged[-1] if records.merged else {}
    return Cut(kept if kept.get("step") == step else {}, last)


def complete_lines(path: Path, last_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a file, each with its line break, except one that is still being written; none if missing."""
    try:
        stream = open_regular(path)
    except FileNotFoundError:
        return
    with stream:
        if last_bytes and path.stat().st_size > last_bytes:
            stream.seek(-last_bytes, os.SEEK_END)
            stream.readline(LONGEST_LINE)
        yield from _bounded_lines(stream)


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield lines. Of a line that is too long, yield its pieces, which are damaged lines."""
    line = stream.readline(LONGEST_LINE)
    while line:
        following = stream.readline(LONGEST_LINE)
        if line.endswith(b"\n") or following:
            yield line
        line = following


def _step_in(line: bytes) -> int | None:
    record = parse_line(line)
    return int(record["step"]) if record is not None and _is_sound(record) else None


def _is_sound(record: dict[str, Any]) -> bool:
    """Return whether the record has a step, and values of the types that readers expect."""
    if type(record.get("step")) is not int or record["step"] < 1:
        return False
    values = (value for name, value in record.items() if name not in TEXTS)
    return all(value is None or isinstance(value, int | float) for value in values)


def _is_evaluation(record: dict[str, Any]) -> bool:
    return all(name == "step" or name.startswith(VALID) for name in record)


def _warn_of_gaps(path: Path, records: Records, step: int) -> None:
    if records.left_out:
        log.warning("%s: %d damaged line(s) are kept, but not read", path, records.left_out)
    if records.merged:
        missing = step - records.merged[0]["step"] + 1 - len(records.merged)
        if missing > 0:
            log.warning("%s: the records of %d step(s) up to step %d are missing", path, missing, step)
