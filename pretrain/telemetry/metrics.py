"""Record a run's metrics on the console, in metrics.jsonl and in TensorBoard. Rank 0 only.

`metrics.jsonl` has one object per step, and one more per evaluation. When a run resumes, it is cut back to the
checkpoint's step, and TensorBoard purges the same steps, so that no step appears twice.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from configs.records import record_line
from configs.run_layout import METRICS, TENSORBOARD
from configs.schema import TrainConfig
from pretrain.engine import is_over, last_step_at
from pretrain.telemetry.appended_lines import AppendedLines
from pretrain.telemetry.boards import (
    HELD_OUT_LOSS,
    TensorBoardFiles,
    Trackers,
    hparams_of,
    layout,
    recipe_tables,
)
from pretrain.telemetry.folding import fold
from pretrain.telemetry.goodput import CLOCK, Account, process_began
from pretrain.telemetry.metrics_file import VALID, cut_back

if TYPE_CHECKING:
    from pretrain.telemetry.boards import Histogram  # it needs torch, which `plan` and `status` do without

log = logging.getLogger(__name__)

STEP_LINE = re.compile(r"step +\d+/\d+ ")  # how `console_line` begins

TAGS = {
    "tokens": "progress/tokens",
    "samples": "progress/samples",
    "time_s": "progress/training_s",
    "loss": "loss/total",
    "mlm_loss": "loss/mlm",
    "nsp_loss": "loss/nsp",
    "mlm_accuracy": "accuracy/mlm",
    "nsp_accuracy": "accuracy/nsp",
    "learning_rate": "optim/learning_rate",
    "grad_norm": "optim/grad_norm",
    "loss_scale": "optim/loss_scale",
    "samples_per_s": "throughput/samples_per_s",
    "tokens_per_s": "throughput/tokens_per_s",
    "tflops": "throughput/tflops",
    "mfu": "throughput/mfu",
    "padding_pct": "throughput/padding_pct",
    "imbalance_pct": "throughput/imbalance_pct",
    "data_wait_pct": "throughput/data_wait_pct",
    "save_s": "throughput/save_s",
    "memory_gib": "memory/gib",
    "reserved_gib": "memory/reserved_gib",
    "allocation_retries": "faults/allocation_retries",
    "gpu_clock_mhz": "gpu/clock_mhz",
    "gpu_temperature_c": "gpu/temperature_c",
    "skipped_steps": "faults/skipped_steps",
    "passed_over_rows": "faults/passed_over_rows",
    "slow_rank_ratio": "faults/slow_rank_ratio",
}


COUNTS = ("rows", "masked_tokens")  # of an evaluation: they never change, so that they make no curve


class Fault(StrEnum):
    """A step's fault, as written to metrics.jsonl and the console."""

    GRADIENT_NOT_FINITE = "gradient not finite"
    LOSS_SPIKE = "loss spike"
    LOSS_SCALE_FELL = "loss scale fell"  # in fp16; the next step uses a smaller scale


@dataclass(frozen=True)
class StepMetrics:
    """One optimizer step, over all ranks. Losses are means over the global batch's masked tokens and rows."""

    step: int
    samples: int  # rows trained since the start
    tokens: int  # tokens trained since the start, without padding
    cursor: int  # rows consumed of the global order, before this step
    rows: str  # digest of this step's global rows, in order
    loss: float
    mlm_loss: float
    nsp_loss: float | None  # loss of the sentence objective (nsp or sop); None without one
    mlm_accuracy: float
    nsp_accuracy: float | None
    learning_rate: float
    grad_norm: float
    loss_scale: float
    samples_per_s: float
    tokens_per_s: float
    tflops: float  # matmul TFLOP/s per rank
    mfu: float | None  # share of the device's peak; None if the peak is unknown
    padding_pct: float  # filler tokens (train.pad_tokens_to); 1: padding that ragged rows avoid
    imbalance_pct: float  # tokens of the fullest rank beyond the mean of the ranks
    data_wait_pct: float  # share of the step spent waiting for rows
    memory_gib: float  # peak on this rank: device memory on a GPU, resident memory on CPU
    reserved_gib: float | None  # peak that torch held of the GPU on this rank, used or not; None on a CPU
    allocation_retries: int | None  # of this rank since its start: above 0, GPU memory is short; None on a CPU
    gpu_clock_mhz: int | None  # of this rank's GPU, at most five seconds ago; None where NVML does not tell
    gpu_temperature_c: int | None
    gpu_xid: int | None  # last Xid error of this rank's GPU since its start; every rank logs its own
    time_s: float  # training time over all starts, without evaluations and saves
    save_s: float | None  # seconds that the checkpoint before this step paused training; None without one
    skipped: bool  # no update was made
    fault: Fault | None  # cause of a skipped step, or a loss spike that was trained on
    skipped_steps: int  # since the start
    passed_over_rows: int  # since the start: rows that the cursor skipped after too many skipped steps
    slow_rank: int | None  # a rank that delayed the others over the last steps; reported every twenty steps
    slow_rank_ratio: float | None  # its own time over the median rank's
    slow_rank_clock_mhz: int | None  # of its GPU
    slow_rank_temperature_c: int | None


@dataclass(frozen=True)
class Evaluation:
    """Means over the held-out rows."""

    step: int
    rows: int
    masked_tokens: int
    mlm_loss: float
    mlm_accuracy: float
    nsp_loss: float | None  # None under the objective `none`
    nsp_accuracy: float | None
    unigram_loss: float  # cross-entropy of the training split's token frequencies on the same targets
    by_corpus: dict[int, Evaluation] = field(default_factory=dict)  # by the place in data.corpora, if there are several

    @property
    def is_finite(self) -> bool:
        """Whether all losses are finite. Otherwise the model has diverged."""
        return all(math.isfinite(loss) for loss in (self.mlm_loss, self.nsp_loss) if loss is not None)


class MetricsLog:
    """Writes the steps and evaluations of one run. A context manager that flushes and closes at its end."""

    def __init__(
        self, run: Path, train: TrainConfig, *, resumed_step: int, recipe_toml: str, time_s: float = 0.0
    ) -> None:
        self.train = train
        cut = cut_back(run / METRICS, resumed_step)
        self.resumed = cut.resumed
        self.account = Account({"time_s": time_s} | cut.resumed, cut.last.get(CLOCK), process_began())
        self.lines = AppendedLines(run / METRICS)
        self.tensorboard = TensorBoardFiles(run / TENSORBOARD, purge_step=resumed_step + 1)
        self.tensorboard.text("recipe", recipe_tables(recipe_toml), resumed_step)
        values = hparams_of(recipe_toml)
        has_sentences = values.get("model.attention") != "left_to_right"
        self.tensorboard.layout(layout(str(values.get("data.objective")) if has_sentences else "none"))
        self.tensorboard.hparams(values, HELD_OUT_LOSS)
        self.trackers = Trackers(train.trackers, run, values)  # last: nothing that fails leaves a run open there
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.flush()
        self.lines.close()
        self.tensorboard.close()
        self.trackers.close(failed=error is not None)

    def say(self, text: str) -> None:
        """Print a line to the console."""
        with suppress(OSError):  # a full disk or a closed console must not end the training
            self.console.print(fold(text), markup=False)

    @property
    def lacks_evaluation(self) -> bool:
        """Whether the step that the run resumed from is recorded, but no evaluation of it."""
        return bool(self.resumed) and not any(name.startswith(VALID) for name in self.resumed)

    def write_step(self, metrics: StepMetrics) -> None:
        """Record one step."""
        record = _finite(asdict(metrics))
        record |= self.account.step(metrics.time_s, metrics.save_s, skipped=metrics.skipped)
        scalars = {tag: record[name] for name, tag in TAGS.items() if record[name] is not None}
        self.tensorboard.scalars(scalars, metrics.step)
        self.trackers.scalars(scalars, metrics.step)
        self.lines.add(record_line(record))
        if self._is_due(metrics):
            self._write_records()
            self.say(console_line(metrics, self.train))

    def write_evaluation(self, evaluation: Evaluation, seconds: float = 0.0) -> None:
        """Record an evaluation, after its step. A value that is not finite is recorded as null, with an error."""
        self.account.add("evaluations", seconds)
        values, step = _finite(_values(evaluation)), evaluation.step
        self.lines.add(record_line({"step": step} | {f"{VALID}{name}": value for name, value in values.items()}))
        found = {f"valid/{name}": each for name, each in values.items() if each is not None and name not in COUNTS}
        self.tensorboard.scalars(found, step)
        self.trackers.scalars(found, step)
        self._write_records()
        self.say(evaluation_line(evaluation))
        if not evaluation.is_finite:
            log.error("step %d: the held-out loss is not finite: the model has diverged", step)

    def write_predictions(self, table: str, step: int) -> None:
        """Record a Markdown table of predictions, in TensorBoard only."""
        self.tensorboard.text("predictions", table, step)

    def write_histograms(self, histograms: Mapping[str, Histogram], step: int) -> None:
        """Record histograms by tag, in TensorBoard only."""
        for tag, histogram in histograms.items():
            self.tensorboard.histogram(tag, histogram, step)

    def flush(self) -> bool:
        """Make all records durable, before each checkpoint; return False if that fails."""
        if not self._write_records(durably=True):
            return False
        self.tensorboard.flush()
        return True

    def _write_records(self, *, durably: bool = False) -> bool:
        try:
            self.lines.write(durably=durably)
        except OSError as error:
            log.error("%s: %s; its last records are kept in memory", METRICS, error)
            return False
        return True

    def _is_due(self, metrics: StepMetrics) -> bool:
        on_schedule = metrics.step % self.train.log_every_steps == 0
        is_unusual = metrics.fault is not None or metrics.slow_rank is not None
        is_first_or_last = metrics.step == 1 or is_over(metrics.step, metrics.time_s, self.train)
        return on_schedule or is_first_or_last or is_unusual


def console_line(metrics: StepMetrics, train: TrainConfig) -> str:
    """Return one step as human-readable text. Progress and ETA refer to the steps or the budget, whichever is less."""
    last_step = last_step_at(metrics.step, metrics.time_s, train)
    remaining_s = max(0.0, last_step - metrics.step) * metrics.time_s / metrics.step
    mfu = "" if metrics.mfu is None else f" mfu {metrics.mfu:.1%}"
    nsp_loss = "" if metrics.nsp_loss is None else f" nsp {metrics.nsp_loss:.4f}"
    nsp_accuracy = "" if metrics.nsp_accuracy is None else f" nsp {metrics.nsp_accuracy:.3f}"
    return (
        f"step {metrics.step:>{len(str(train.steps))}}/{train.steps} {min(1.0, metrics.step / last_step):4.0%}"
        f" | loss {metrics.loss:.4f} mlm {metrics.mlm_loss:.4f}{nsp_loss}"
        f" | {metrics.tokens_per_s:,.0f} tokens/s{mfu}"
        f" | accuracy mlm {metrics.mlm_accuracy:.3f}{nsp_accuracy}"
        f" | lr {metrics.learning_rate:.2e} norm {metrics.grad_norm:.2f}"
        f" | wait {metrics.data_wait_pct:.0f}% {metrics.memory_gib:.1f} GiB"
        f" | eta {duration(remaining_s)}" + _faults(metrics)
    )


def _faults(metrics: StepMetrics) -> str:
    fault = "" if metrics.fault is None else f" | {'SKIPPED: ' if metrics.skipped else ''}{metrics.fault}"
    if metrics.slow_rank is None:
        return fault
    slow = f" | rank {metrics.slow_rank} is slow: {metrics.slow_rank_ratio:.2f} times the median rank's own time"
    clock_mhz, temperature_c = metrics.slow_rank_clock_mhz, metrics.slow_rank_temperature_c
    gpu = "" if clock_mhz is None else f", its GPU at {clock_mhz} MHz"
    return fault + slow + gpu + ("" if temperature_c is None else f", {temperature_c} °C")


def _values(evaluation: Evaluation) -> dict[str, float]:
    """Return the values of an evaluation by name; those of a corpus end in its number: `mlm_loss_corpus_0`."""
    of_all = {each.name: getattr(evaluation, each.name) for each in fields(evaluation)}
    values = {name: value for name, value in of_all.items() if name not in ("step", "by_corpus") and value is not None}
    for corpus, part in evaluation.by_corpus.items():
        values |= {f"{name}_corpus_{corpus}": value for name, value in _values(part).items()}
    return values


def evaluation_line(evaluation: Evaluation) -> str:
    """Return one evaluation as human-readable text, next to the results of token frequencies and of chance."""
    nsp = "" if evaluation.nsp_accuracy is None else f" | nsp accuracy {evaluation.nsp_accuracy:.3f} (chance 0.5)"
    return (
        f"held-out at step {evaluation.step}: mlm loss {evaluation.mlm_loss:.4f}"
        f" (unigram {evaluation.unigram_loss:.4f}, {evaluation.unigram_loss - evaluation.mlm_loss:+.4f} nats better)"
        f" perplexity {perplexity(evaluation.mlm_loss):.1f} accuracy {evaluation.mlm_accuracy:.3f}{nsp}"
        f" | {evaluation.rows:,} rows, {evaluation.masked_tokens:,} masked tokens"
    ) + "".join(f" | corpus {corpus}: {part.mlm_loss:.4f}" for corpus, part in evaluation.by_corpus.items())


def perplexity(loss: float) -> float:
    """Return the perplexity of a loss in nats; infinite if it exceeds the largest float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace numbers that are not finite by None: JSON has no NaN."""
    return {name: None if _is_number_beyond(value) else value for name, value in values.items()}


def _is_number_beyond(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def duration(seconds: float) -> str:
    """Format seconds as 1 h 02 m, 3 m 04 s or 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"
