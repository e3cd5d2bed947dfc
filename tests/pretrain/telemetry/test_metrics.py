"""metrics.jsonl is truncated at a resume and has only complete lines of valid JSON; console lines."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.run_layout import METRICS, TENSORBOARD
from configs.schema import TrainConfig
from pretrain.telemetry import Evaluation
from pretrain.telemetry.metrics import (
    TAGS,
    Fault,
    MetricsLog,
    StepMetrics,
    console_line,
    duration,
    evaluation_line,
)
from pretrain.telemetry.metrics_file import read_metrics

STEP = StepMetrics(
    step=1,
    samples=64,
    tokens=4_000,
    cursor=0,
    rows="00ff",
    loss=9.0,
    mlm_loss=8.3,
    nsp_loss=0.7,
    mlm_accuracy=0.01,
    nsp_accuracy=0.5,
    learning_rate=1e-4,
    grad_norm=1.5,
    loss_scale=1.0,
    samples_per_s=640.0,
    tokens_per_s=40_000.0,
    tflops=0.1,
    mfu=None,
    padding_pct=0.0,
    imbalance_pct=0.5,
    data_wait_pct=1.0,
    memory_gib=0.5,
    reserved_gib=None,
    allocation_retries=None,
    gpu_clock_mhz=None,
    gpu_temperature_c=None,
    gpu_xid=None,
    time_s=0.1,
    save_s=None,
    skipped=False,
    fault=None,
    skipped_steps=0,
    passed_over_rows=0,
    slow_rank=None,
    slow_rank_ratio=None,
    slow_rank_clock_mhz=None,
    slow_rank_temperature_c=None,
)
TRAIN = TrainConfig(steps=100, log_every_steps=1)
EVALUATION = Evaluation(
    step=4,
    rows=100,
    masked_tokens=1_000,
    mlm_loss=6.2,
    mlm_accuracy=0.1,
    nsp_loss=0.69,
    nsp_accuracy=0.55,
    unigram_loss=6.7,
)


def write_run(run: Path, steps: range, resumed_step: int) -> None:
    train = TrainConfig(steps=10, log_every_steps=5)
    with MetricsLog(run, train, resumed_step=resumed_step, recipe_toml="name = 'x'") as log:
        for step in steps:
            log.write_step(replace(STEP, step=step))
            if step == 4:
                log.write_evaluation(EVALUATION)


def test_resume_truncates_records_to_the_checkpoint(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 8), resumed_step=0)
    write_run(tmp_path, range(5, 11), resumed_step=4)
    assert [record["step"] for record in read_metrics(tmp_path)] == list(range(1, 11))


def test_resume_does_not_duplicate_steps_in_tensorboard(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 8), resumed_step=0)
    write_run(tmp_path, range(5, 11), resumed_step=4)
    board = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert [event.step for event in board.Scalars("loss/mlm")] == list(range(1, 11))
    assert [event.value for event in board.Scalars("valid/mlm_loss")] == [pytest.approx(6.2)]


def test_tensorboard_shows_the_steps_of_a_start_whose_clock_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads files in the order of their names, which state the time of the node's clock."""
    now = time.time
    for hours_ahead, (steps, resumed) in ((2, (range(1, 8), 0)), (0, (range(5, 11), 4)), (1, (range(9, 13), 8))):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda ahead_s=3600 * hours_ahead: now() + ahead_s)
            write_run(tmp_path, steps, resumed_step=resumed)
    board = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert [event.step for event in board.Scalars("loss/mlm")] == list(range(1, 13))


def test_tensorboard_has_every_group_and_the_recipe(tmp_path: Path) -> None:
    of_gpu: dict[str, Any] = {
        "reserved_gib": 1.0,
        "allocation_retries": 0,
        "gpu_clock_mhz": 1_980,
        "gpu_temperature_c": 61,
    }
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="name = 'x'") as log:
        log.write_step(replace(STEP, mfu=0.5, save_s=0.25, slow_rank_ratio=1.5, **of_gpu))
        log.write_evaluation(replace(EVALUATION, step=1))
    board = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    shown = set(board.Tags()["scalars"])
    assert shown >= {*TAGS.values(), "valid/mlm_loss", "valid/nsp_accuracy"}
    assert {tag.split("/")[0] for tag in shown} == {
        "progress", "loss", "accuracy", "optim", "throughput", "memory", "gpu", "faults", "valid",
    }  # fmt: skip
    assert board.Scalars("progress/tokens")[0].value == STEP.tokens
    assert "valid/rows" not in shown  # it never changes
    assert board.Scalars("throughput/save_s")[0].value == 0.25
    assert b"| name | `x` |" in board.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]


def test_evaluation_is_recorded_with_its_step(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 5), resumed_step=0)
    record = read_metrics(tmp_path)[-1]
    assert (record["step"], record["valid_mlm_loss"], record["valid_unigram_loss"]) == (4, 6.2, 6.7)


def test_no_sentence_metrics_without_a_sentence_objective(tmp_path: Path) -> None:
    step = replace(STEP, nsp_loss=None, nsp_accuracy=None)
    evaluation = replace(EVALUATION, step=1, nsp_loss=None, nsp_accuracy=None)
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="") as log:
        log.write_step(step)
        log.write_evaluation(evaluation)
    tags = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload().Tags()["scalars"]
    assert {"loss/mlm", "accuracy/mlm", "valid/mlm_loss"} <= set(tags)
    assert not any("nsp" in tag for tag in tags)
    assert "nsp" not in console_line(step, TRAIN) + evaluation_line(evaluation)
    (record,) = read_metrics(tmp_path)
    assert record["nsp_loss"] is None
    assert "valid_nsp_loss" not in record


def test_values_that_are_not_finite_are_null(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="") as log:
        log.write_step(replace(STEP, grad_norm=float("nan"), skipped=True))
    line = (tmp_path / METRICS).read_text()
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["grad_norm"] is None
    assert record["skipped"] is True


@pytest.mark.parametrize("loss", [800.0, math.inf, math.nan])
def test_an_evaluation_beyond_the_largest_float_is_recorded(
    tmp_path: Path, loss: float, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="") as log:
        log.write_step(STEP)
        log.write_evaluation(replace(EVALUATION, step=STEP.step, mlm_loss=loss))
    assert read_metrics(tmp_path)[-1]["valid_mlm_loss"] == (loss if math.isfinite(loss) else None)
    assert ("the model has diverged" in caplog.text) == (not math.isfinite(loss))
    assert ("perplexity nan" if math.isnan(loss) else "perplexity inf") in capsys.readouterr().out


@pytest.mark.parametrize("has_evaluation", [True, False])
def test_a_resumed_step_without_its_evaluation_is_noticed(tmp_path: Path, has_evaluation: bool) -> None:
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="") as log:
        assert not log.lacks_evaluation
        log.write_step(replace(STEP, step=4))
        if has_evaluation:
            log.write_evaluation(EVALUATION)
    with MetricsLog(tmp_path, TRAIN, resumed_step=4, recipe_toml="") as log:
        assert log.lacks_evaluation == (not has_evaluation)


def test_console_lines_show_the_metrics() -> None:
    line = console_line(replace(STEP, step=50, time_s=100.0), TRAIN)
    assert "step  50/100  50%" in line
    assert "mlm 8.3000" in line
    assert "eta 1 m 40 s" in line
    assert "+0.5000 nats better" in evaluation_line(EVALUATION)


def test_console_lines_show_faults_and_slow_ranks() -> None:
    lost = replace(STEP, skipped=True, fault=Fault.GRADIENT_NOT_FINITE)
    assert console_line(lost, TRAIN).endswith(" | SKIPPED: gradient not finite")
    assert console_line(replace(STEP, fault=Fault.LOSS_SPIKE), TRAIN).endswith(" | loss spike")
    slow = replace(STEP, slow_rank=3, slow_rank_ratio=1.5)
    assert console_line(slow, TRAIN).endswith(" | rank 3 is slow: 1.50 times the median rank's own time")
    hot = replace(slow, slow_rank_clock_mhz=1_200, slow_rank_temperature_c=88)
    assert console_line(hot, TRAIN).endswith(" times the median rank's own time, its GPU at 1200 MHz, 88 °C")
    assert console_line(STEP, TRAIN).endswith("s")


@pytest.mark.parametrize(
    ("step", "time_s", "progress", "eta"),
    [
        (10, 60.0, "10/100  20%", "eta 4 m 00 s"),  # 300 s hold fifty steps of 6 s
        (10, 20.0, "10/100  10%", "eta 3 m 00 s"),  # at 2 s a step all steps come first
        (60, 306.0, "60/100 100%", "eta 0 s"),
    ],
)
def test_budget_shortens_progress_and_eta(step: int, time_s: float, progress: str, eta: str) -> None:
    line = console_line(replace(STEP, step=step, time_s=time_s), TrainConfig(steps=100, budget_min=5.0))
    assert progress in line
    assert line.endswith(eta)


def test_the_last_step_within_a_budget_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = TrainConfig(steps=100, log_every_steps=50, budget_min=1.0)
    with MetricsLog(tmp_path, train, resumed_step=0, recipe_toml="") as log:
        for step, time_s in [(5, 50.0), (6, 60.0)]:
            log.write_step(replace(STEP, step=step, time_s=time_s))
    assert [line[:13] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == ["step   6/100 "]


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (184, "3 m 04 s"), (3_720, "1 h 02 m")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_evaluation_is_recorded_and_printed_by_corpus(tmp_path: Path) -> None:
    parts = {0: replace(EVALUATION, mlm_loss=6.0), 2: replace(EVALUATION, mlm_loss=6.4, nsp_loss=None)}
    with MetricsLog(tmp_path, TRAIN, resumed_step=0, recipe_toml="name = 'x'") as log:
        log.write_step(replace(STEP, step=4))
        log.write_evaluation(replace(EVALUATION, by_corpus=parts))
    (record,) = read_metrics(tmp_path)
    assert (record["valid_mlm_loss"], record["valid_mlm_loss_corpus_0"], record["valid_mlm_loss_corpus_2"]) == (
        6.2, 6.0, 6.4,
    )  # fmt: skip
    assert record["valid_nsp_loss_corpus_0"] == 0.69
    assert "valid_nsp_loss_corpus_2" not in record
    assert not any("by_corpus" in name for name in record)
    assert evaluation_line(replace(EVALUATION, by_corpus=parts)).endswith(" | corpus 0: 6.0000 | corpus 2: 6.4000")
