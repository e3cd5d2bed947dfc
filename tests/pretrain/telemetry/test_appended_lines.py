"""Lines and TensorBoard files while the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.run_layout import METRICS
from configs.schema import TrainConfig
from pretrain.telemetry.appended_lines import AppendedLines
from pretrain.telemetry.boards.tensorboard_files import TensorBoardFiles
from pretrain.telemetry.metrics import MetricsLog
from tests.limits import no_file_above
from tests.pretrain.telemetry.test_metrics import STEP

# TensorBoard's own thread ends loudly.
QUIETLY = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_lines_that_do_not_fit_are_written_later_exactly(tmp_path: Path) -> None:
    records = AppendedLines(tmp_path / "lines")
    lines = [f"line {number} " + "x" * number for number in range(100)]
    with no_file_above(1_000):
        for line in lines[:60]:
            records.add(line)
        for _ in range(2):
            with pytest.raises(OSError, match="too large"):
                records.write()
        assert (tmp_path / "lines").stat().st_size == 1_000  # as much as there was room for
    for line in lines[60:]:
        records.add(line)
    records.write(durably=True)
    records.close()
    assert (tmp_path / "lines").read_text().splitlines() == lines


@QUIETLY
def test_full_disk_is_reported_and_records_are_kept_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with MetricsLog(tmp_path, TrainConfig(steps=9, log_every_steps=1), resumed_step=0, recipe_toml="") as log:
        with no_file_above(0):
            log.write_step(STEP)
            assert not log.flush()
        assert f"{METRICS}: [Errno 27] File too large; its last records are kept in memory" in caplog.messages
        assert log.flush()
    assert (tmp_path / METRICS).read_text().count("\n") == 1


@QUIETLY
def test_tensorboard_reopens_after_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    board = TensorBoardFiles(tmp_path, purge_step=0)
    board.scalars({"loss": 1.0}, 1)
    board.flush()
    with no_file_above(0):
        for step in (2, 3):
            board.scalars({"loss": 2.0}, step)
            board.flush()
    board.flush()
    board.scalars({"loss": 4.0}, 4)
    board.close()
    assert "cannot write TensorBoard's files" in caplog.text
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 4]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        AppendedLines(tmp_path / "lines")
    assert not (tmp_path / "elsewhere").exists()
