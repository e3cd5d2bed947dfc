"""What a run says of itself: the console line, metrics.jsonl and TensorBoard. Rank 0 only.

`metrics.jsonl` holds one object a step; at a resume it is cut back to the checkpoint, and TensorBoard purges the same
steps, so that no step stands there twice.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.files import atomic_write
from configs.run_layout import METRICS, TENSORBOARD
from configs.schema import TrainConfig
from pretrain.engine import is_over, last_step_at
from pretrain.telemetry.appended_lines import AppendedLines
from pretrain.telemetry.tensorboard_files import TensorBoardFiles

log = logging.getLogger(__name__)

TAGS = {
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
    "skipped_steps": "faults/skipped_steps",
    "passed_over_rows": "faults/passed_over_rows",
    "slow_rank_ratio": "faults/slow_rank_ratio",
}


class Fault(StrEnum):
    """What was wrong with a step, as metrics.jsonl and the console spell it."""

    GRADIENT_NOT_FINITE = "gradient not finite"
    LOSS_SPIKE = "loss spike"
    LOSS_SCALE_FELL = "loss scale fell"  # in fp16, which tries a smaller one next


@dataclass(frozen=True)
class StepMetrics:
    """One optimizer step, over all ranks. Losses are means over the global batch's masked tokens and rows."""

    step: int
    samples: int  # rows trained since the start
    tokens: int  # real tokens trained since the start
    cursor: int  # rows consumed of the global order, before this step
    rows: str  # digest of this step's global rows, in order
    loss: float
    mlm_loss: float
    nsp_loss: float | None  # of the sentence objective, nsp or sop; None without one
    mlm_accuracy: float
    nsp_accuracy: float | None
    learning_rate: float
    grad_norm: float
    loss_scale: float
    samples_per_s: float
    tokens_per_s: float
    tflops: float  # matmul FLOPs a second and rank, 10¹²
    mfu: float | None  # share of the device's peak; None where the peak is not known
    padding_pct: float  # what padding each micro-batch to its longest row would add; it is not computed
    imbalance_pct: float  # tokens of the fullest rank beyond the mean of the ranks
    data_wait_pct: float  # share of the step spent waiting for rows
    memory_gib: float  # peak on this rank: device memory on a GPU, resident memory on CPU
    time_s: float  # training time since the start, resumes included; evaluations and saves apart
    save_s: float | None  # training stood still so long for the checkpoint before this step; None without one
    skipped: bool  # no update was made
    fault: Fault | None  # why, or a spike that was trained on
    skipped_steps: int  # since the start
    passed_over_rows: int  # since the start: rows that the cursor left out after too many skipped steps
    slow_rank: int | None  # a rank that held the others up over the last steps; told every twenty
    slow_rank_ratio: float | None  # its own time over the median rank's


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


class MetricsLog:
    """Writes steps and evaluations of one run. A context manager: leaving it flushes and closes."""

    def __init__(self, run: Path, train: TrainConfig, *, resumed_step: int, recipe_toml: str) -> None:
        self.train = train
        cut_back(run / METRICS, resumed_step)
        self.lines = AppendedLines(run / METRICS)
        self.tensorboard = TensorBoardFiles(run / TENSORBOARD, purge_step=resumed_step + 1)
        self.tensorboard.text("recipe", f"```toml\n{recipe_toml}\n```", resumed_step)
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.lines.close()
        self.tensorboard.close()

    def say(self, text: str) -> None:
        """A line for the reader of the console and of the log."""
        with suppress(OSError):  # a disk that is full of logs, or a console that is gone, ends no training
            self.console.print(text, markup=False)

    def write_step(self, metrics: StepMetrics, evaluation: Evaluation | None = None) -> None:
        """Record one step, with the evaluation that followed it."""
        record: dict[str, Any] = {name: _finite(value) for name, value in asdict(metrics).items()}
        scalars = {tag: record[name] for name, tag in TAGS.items() if record[name] is not None}
        if evaluation is not None:
            valid = {name: value for name, value in asdict(evaluation).items() if name != "step" and value is not None}
            record.update({f"valid_{name}": value for name, value in valid.items()})
            scalars |= {f"valid/{name}": value for name, value in valid.items()}
        self.tensorboard.scalars(scalars, metrics.step)
        self.lines.add(json.dumps(record, allow_nan=False))
        if self._is_due(metrics):
            self._write_records()
            self.say(console_line(metrics, self.train))
        if evaluation is not None:
            self.say(evaluation_line(evaluation))

    def flush(self) -> bool:
        """Make all that was recorded durable, before each checkpoint; False when that cannot be."""
        if not self._write_records(durably=True):
            return False
        self.tensorboard.flush()
        return True

    def _write_records(self, *, durably: bool = False) -> bool:
        try:
            self.lines.write(durably=durably)
        except OSError as error:
            log.error("%s: %s; its last records wait in memory", METRICS, error)
            return False
        return True

    def _is_due(self, metrics: StepMetrics) -> bool:
        on_schedule = metrics.step % self.train.log_every_steps == 0
        is_odd = metrics.fault is not None or metrics.slow_rank is not None
        is_first_or_last = metrics.step == 1 or is_over(metrics.step, metrics.time_s, self.train)
        return on_schedule or is_first_or_last or is_odd


def cut_back(path: Path, step: int) -> None:
    """Keep the records up to `step`; a line cut short by a crash, and all after it, go too."""
    if not path.exists():
        return
    with path.open("rb") as old, atomic_write(path) as new:
        for line in old:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            new.write(line)


def read_metrics(run: Path) -> list[dict[str, float]]:
    """All whole records of a run, in order of their steps."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def console_line(metrics: StepMetrics, train: TrainConfig) -> str:
    """One step for human eyes. What is left, and the percentage, are of the steps or of the budget: the sooner end."""
    last_step = last_step_at(metrics.step, metrics.time_s, train)
    remaining_s = max(0.0, last_step - metrics.step) * metrics.time_s / metrics.step
    mfu = "" if metrics.mfu is None else f" mfu {metrics.mfu:.1%}"
    nsp_loss = "" if metrics.nsp_loss is None else f" nsp {metrics.nsp_loss:.4f}"
    nsp_accuracy = "" if metrics.nsp_accuracy is None else f" nsp {metrics.nsp_accuracy:.3f}"
    return (
        f"step {metrics.step:>{len(str(train.steps))}}/{train.steps} {min(1.0, metrics.step / last_step):4.0%}"
        f" | loss {metrics.loss:.4f} mlm {metrics.mlm_loss:.4f}{nsp_loss}"
        f" | accuracy mlm {metrics.mlm_accuracy:.3f}{nsp_accuracy}"
        f" | lr {metrics.learning_rate:.2e} norm {metrics.grad_norm:.2f}"
        f" | {metrics.tokens_per_s:,.0f} tokens/s{mfu} wait {metrics.data_wait_pct:.0f}% {metrics.memory_gib:.1f} GiB"
        f" | eta {duration(remaining_s)}" + _faults(metrics)
    )


def _faults(metrics: StepMetrics) -> str:
    fault = "" if metrics.fault is None else f" | {'SKIPPED: ' if metrics.skipped else ''}{metrics.fault}"
    if metrics.slow_rank is None:
        return fault
    return f"{fault} | rank {metrics.slow_rank} is slow: {metrics.slow_rank_ratio:.2f} times the median's own time"


def evaluation_line(evaluation: Evaluation) -> str:
    """One evaluation for human eyes: what the model gives beside what frequencies or a coin would."""
    nsp = "" if evaluation.nsp_accuracy is None else f" | nsp accuracy {evaluation.nsp_accuracy:.3f} (chance 0.5)"
    return (
        f"held-out at step {evaluation.step}: mlm loss {evaluation.mlm_loss:.4f}"
        f" (unigram {evaluation.unigram_loss:.4f}, {evaluation.unigram_loss - evaluation.mlm_loss:+.4f} nats better)"
        f" perplexity {math.exp(evaluation.mlm_loss):.1f} accuracy {evaluation.mlm_accuracy:.3f}{nsp}"
        f" | {evaluation.rows:,} rows, {evaluation.masked_tokens:,} masked tokens"
    )


def _finite(value: object) -> object:
    """JSON has no NaN: what is not finite is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def duration(seconds: float) -> str:
    """1 h 02 m, 3 m 04 s or 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"
