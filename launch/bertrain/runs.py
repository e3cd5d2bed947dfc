"""Training: what it costs, and doing it on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bertrain.recipes import Recipe, UserError, resolved
from configs.exit_codes import STOPPED, USER_ERROR
from launch.display import check_environment, check_nodes, find_hardware, private_files, settle, vocabulary_size
from launch.ranks import Screen, is_rank, run_folder_of, train_here
from pretrain.cost import Cost
from pretrain.telemetry import read_metrics

INTERRUPTED = 130


@dataclass(frozen=True)
class Training:
    """How a training ended. `run` is its folder; `finished` is False if it was stopped and saved a checkpoint."""

    run: Path
    finished: bool

    @property
    def metrics(self) -> list[dict[str, float]]:
        """What the run has recorded: a dict for each step, with `step`, `loss`, `learning_rate` and more."""
        return read_metrics(self.run)


class TrainingError(RuntimeError):
    """A rank failed. The message is the end of its output; `exit_code` is that of `bertrain train`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


def plan(recipe: Recipe | str | Path, hardware: str = "h100", **measured: float) -> Cost:
    """Estimate what the training of a recipe costs.

    Args:
        recipe: a recipe, or what `load_recipe` takes.
        hardware: b200, h200, h100, a100, a100-40, v100, l40s, rtx5090, rtx4090 or cpu, in any case.
        measured: figures of the hardware to replace: `peak_flops`, `memory_gib`, `memory_gb_s`, `node_gb_s`,
            `network_gb_s`, `cpu_speed`.

    Returns:
        A `Cost`: `parameters`; `memory(ranks, micro_batch_size, zero_stage)` in GiB; `step(ranks)`, with seconds, bytes
        sent and rows per second; `training_s(ranks)`; and `scaling()`, a step on each of 1, 2, 4, … ranks.

    Raises:
        UserError: the recipe is wrong, or there is no such hardware.

    Examples:
        >>> cost = bertrain.plan("base_phase1", "h200")
        >>> round(cost.training_s(ranks=64) / 3600)
        3
    """
    wanted = resolved(recipe)
    return Cost(wanted, find_hardware(hardware, **measured), vocabulary_size(wanted.data.vocabulary))


def train(
    recipe: Recipe | str | Path, *, resume: str | Path = "auto", progress: Callable[[str], None] | None = None
) -> Training:
    """Train in `<runs>/<name>` on all GPUs of this machine, or on its CPU; each rank is a process of its own.

    Call it from the main thread. Ctrl-C, or interrupting the notebook's kernel, saves a checkpoint and returns; the
    same call resumes from it.

    Args:
        recipe: a recipe, or what `load_recipe` takes. Its data set has been prepared.
        resume: "auto" resumes from the newest checkpoint, "never" starts anew, a path from that checkpoint.
        progress: called with each line that rank 0 prints, e.g. `print`. All of it is in the run's logs, too.

    Returns:
        The run's folder, and whether it is finished or was stopped.

    Raises:
        UserError: the recipe, the data set or the machine cannot be trained with.
        TrainingError: a rank failed.
        KeyboardInterrupt: Ctrl-C came before anything new was saved.

    Examples:
        >>> training = bertrain.train("news.toml", progress=print)
        >>> training.metrics[-1]["loss"]
        2.31
    """
    wanted = resolved(recipe)
    if is_rank(os.environ):
        fix = "call it in an ordinary process, or run `torchrun --no-python bertrain train RECIPE`"
        raise UserError("bertrain.train starts its ranks itself", place="torchrun", fix=fix)
    check_nodes(wanted, 1)
    check_environment(wanted.cluster)
    wanted = settle(wanted)
    said: list[str] = []
    lines = _Lines(progress or (lambda line: None))
    with private_files(wanted):
        code = train_here(wanted, str(resume), screen=Screen(lines.add, said.append))
    lines.end()
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code == USER_ERROR:
        raise UserError(said[-1].removeprefix("error: "))
    if code not in (0, STOPPED):
        raise TrainingError("\n".join(said), code)
    return Training(run_folder_of(wanted), finished=code != STOPPED)


class _Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self, each: Callable[[str], None]) -> None:
        self.each = each
        self.begun = b""

    def add(self, more: bytes) -> None:
        *whole, self.begun = (self.begun + more).split(b"\n")
        for line in whole:
            self.each(line.decode(errors="replace"))

    def end(self) -> None:
        if self.begun:
            self.add(b"\n")
