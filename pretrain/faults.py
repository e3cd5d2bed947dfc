"""Count skipped steps, and roll back after too many in a row.

A step is skipped on all ranks if a gradient is not finite on one of them, or, if the recipe enables it, if the loss
spikes. After `train.max_skipped_steps` consecutive skipped steps, training resumes from its newest valid checkpoint,
and the cursor skips the rows of those steps. All ranks use the same numbers and reach the same decisions.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

from configs.errors import UserError
from pretrain.data import Loader, RowRange, Step
from pretrain.engine import LossSums, RunningLoss, StepResult, gather, rank_and_size
from pretrain.telemetry import Fault

MOST_ROLLBACKS = 3  # to the same checkpoint; more would not help
MOST_NAMES = 8  # file names per message

log = logging.getLogger(__name__)


class TooManySkippedSteps(Exception):  # noqa: N818 - it is no error: training rolls back and resumes
    """Raised when too many steps in a row were skipped, so that training rolls back. `rows` is their range."""

    def __init__(self, step: int, in_a_row: int, rows: RowRange) -> None:
        super().__init__(f"{in_a_row} steps in a row were skipped, the last of them step {step}")
        self.rows = rows


class Faults:
    """The skipped steps and rollbacks of one start of a training."""

    def __init__(self, max_skipped_steps: int) -> None:
        self.in_a_row = 0
        self._most_in_a_row = max_skipped_steps
        self._first_row = 0
        self._rolled_back_to: list[Path] = []

    def note(self, number: int, step: Step, *, lost: bool) -> None:
        """Record whether step `number` was lost. Raises `TooManySkippedSteps` after too many lost steps in a row."""
        if not lost:
            self.in_a_row = 0
            return
        if self.in_a_row == 0:
            self._first_row = step.cursor
        self.in_a_row += 1
        if self.in_a_row >= self._most_in_a_row:
            raise TooManySkippedSteps(number, self.in_a_row, (self._first_row, step.cursor + step.rows))

    def roll_back(self, cause: TooManySkippedSteps, folder: Path | None) -> Path:
        """Return the checkpoint to roll back to. Raises `UserError` if there is none, or if it has not helped."""
        fix = "lower optimizer.learning_rate, or inspect the rows that the log names; then start again"
        if folder is None:
            raise UserError(f"{cause}, and there is no checkpoint to roll back to", place="training", fix=fix)
        self._rolled_back_to = [*(f for f in self._rolled_back_to if f == folder), folder]
        if len(self._rolled_back_to) > MOST_ROLLBACKS:
            fix += ", or resume from an older checkpoint with --resume PATH"
            raise UserError(f"{cause}, again after {MOST_ROLLBACKS} rollbacks", place=str(folder), fix=fix)
        self.in_a_row = 0
        return folder


def fault_of(result: StepResult, loss: float, losses: RunningLoss, *, spoiled: bool) -> Fault | None:
    """Return a step's fault, given its loss. `spoiled`: the step was skipped because of its loss alone."""
    if result.skipped and not spoiled:
        # A smaller scale can fix a gradient, but not a loss that was not finite before scaling.
        is_recoverable = result.scale_fell and math.isfinite(loss)
        return Fault.LOSS_SCALE_FELL if is_recoverable else Fault.GRADIENT_NOT_FINITE
    return Fault.LOSS_SPIKE if losses.is_spike(loss) else None


def explain(number: int, step: Step, fault: Fault, sums: LossSums, loader: Loader, losses: RunningLoss) -> None:
    """Log the fault on rank 0 with its rows, as far as they are known. Every rank calls it."""
    mine = [name for micro_step in sums.not_finite() for name in loader.names(step, micro_step)]
    named = [f"rank {rank}: {_shortened(names)}" for rank, names in enumerate(gather(mine)) if names]
    loss = sums.over_all_ranks(step.masked_tokens, step.rows).loss
    if fault is Fault.LOSS_SPIKE:
        details = f"{loss:.4f} is {losses.deviations(loss):.1f} deviations above the mean of {losses.mean:.4f}"
    else:
        details = f"losses not finite on {'; '.join(named)}" if named else "all losses are finite"
    rows = f"rows {step.cursor} to {step.cursor + step.rows - 1} of the global order"
    if rank_and_size()[0] == 0:
        log.warning("step %d: %s; %s; %s", number, fault, details, rows)


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "; ".join(names[:MOST_NAMES]) + more
