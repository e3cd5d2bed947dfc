"""`bertrain status`: the state of runs, read from their folders and from Slurm's queue if there is one.

States: done, running, silent (running, but without a step for long), waiting (in the queue), stopped, failed, new.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from configs.exit_codes import STOPPED
from configs.run_layout import LOGS, METRICS, RANK_LOGS
from configs.schema import TrainConfig
from launch.cluster import (
    EXPORT,
    PREPARE,
    QueuedJob,
    jobs_of,
    newest_step,
    node_of,
    queued_jobs,
    read_starts,
    read_verdict,
    silences_s,
)
from launch.ranks import TRACEBACK, find_run, last_words, process_training_in
from launch.terminal import console
from pretrain.engine import is_over
from pretrain.telemetry import duration

TAIL_BYTES = 1 << 16
SILENT_S = 120.0
SLOW_STEPS = 40  # records to search for a slow rank; the trainer checks for one every twenty steps
WATCH_S = 5.0
WORK = {PREPARE.script: "preparation, job", EXPORT.script: "export, job"}
STATE_COLOURS = {"running": "green", "done": "green", "silent": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Status:
    """The status of a run at one moment. None means unknown."""

    run: Path
    state: str
    detail: str  # where it runs, what it waits for, or why it failed
    steps: int
    step: int = 0
    loss: float | None = None
    tokens_per_s: float | None = None
    mfu: float | None = None
    eta_s: float | None = None
    restarts: int = 0
    checkpoint: int = 0


def read_status(run: Path, jobs: Sequence[QueuedJob], now: float | None = None) -> Status:
    """Return the status of a run. `jobs` is Slurm's queue. Raise `UserError` if `run` is not a run folder."""
    recipe = find_run(run)
    records = tail_of_metrics(run)
    last = records[-1] if records else {}
    step = int(last.get("step", 0))
    steps, time_s = recipe.train.steps, float(last.get("time_s", 0.0))
    state, detail = _state(run, is_over(step, time_s, recipe.train), jobs_of(run, jobs))
    pace, now = _step_s(records), now or time.time()
    if state == "running":
        detail = "; ".join([detail, *_laggards(run, records, now)])
        if _silence_s(run, now) > max(SILENT_S, 20 * (pace or 0.0)):
            state = "silent"
    return Status(
        run=run,
        state=state,
        detail=detail,
        steps=steps,
        step=step,
        loss=last.get("loss"),
        tokens_per_s=last.get("tokens_per_s"),
        mfu=last.get("mfu"),
        eta_s=_left_s(recipe.train, step, time_s, pace) if pace is not None and state != "done" else None,
        restarts=max(0, len(read_starts(run)) - 1),
        checkpoint=newest_step(run),
    )


def status_table(statuses: Sequence[Status]) -> Table:
    """Return a table with one run per row."""
    columns = ("run", "state", "step", "loss", "tokens/s", "MFU", "ETA", "restarts", "checkpoint", "")
    result = Table(*columns, box=None, pad_edge=False)
    for one in statuses:
        colour = STATE_COLOURS.get(one.state, "default")
        result.add_row(
            one.run.name,
            f"[{colour}]{one.state}[/]",
            f"{one.step}/{one.steps}",
            _shown(one.loss, ".4f"),
            _shown(one.tokens_per_s, ",.0f"),
            _shown(one.mfu, ".1%"),
            "" if one.eta_s is None else duration(one.eta_s),
            str(one.restarts),
            str(one.checkpoint or "none"),
            one.detail.replace("[", r"\["),
        )
    return result


def show_status(runs: Sequence[Path], *, watch: bool) -> None:
    """Print the table; with `watch`, refresh it every `WATCH_S` seconds until Ctrl-C."""
    screen = console()
    if not watch:
        screen.print(_read_table(runs))
        return
    with Live(_read_table(runs), console=screen, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(_read_table(runs), refresh=True)


def tail_of_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the last complete metric records of a run, without reading the whole file, which can be gigabytes."""
    file = run / METRICS
    if not file.exists():
        return []
    with file.open("rb") as stream:
        start = max(0, file.stat().st_size - TAIL_BYTES)
        stream.seek(start)
        lines = stream.read().split(b"\n")
    return [json.loads(line) for line in lines[1 if start else 0 : -1]]


def last_error(run: Path) -> str:
    """Return the last line of the error of the rank that failed first; empty if no rank failed."""
    logs = sorted((run / LOGS).glob(RANK_LOGS), key=lambda log: log.stat().st_mtime)
    for log in logs:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
        last = text.rstrip().rpartition("\n")[2]
        if last.startswith("error: ") or TRACEBACK in last_words(text)[:200]:
            return last
    return ""


def _read_table(runs: Sequence[Path]) -> Table:
    jobs = queued_jobs()
    return status_table([read_status(run, jobs) for run in runs])


def _state(run: Path, is_done: bool, jobs: Sequence[QueuedJob]) -> tuple[str, str]:
    for job in jobs:
        what = WORK.get(job.script.name, "job")
        if job.state == "RUNNING":
            return "running", f"{what} {job.id} on {job.nodes}, {job.elapsed}"
        return "waiting", f"{what} {job.id}: {job.state.lower()}, {job.reason}"
    if process := process_training_in(run):
        return "running", f"process {process[0]} on {process[1]}"
    if is_done:
        return "done", ""
    begun = read_starts(run)
    verdict = read_verdict(run, begun[-1].number) if begun else None
    if verdict is not None:
        return ("stopped" if verdict.code == STOPPED else "failed"), verdict.reason
    if error := last_error(run):
        return "failed", error
    return ("stopped" if (run / METRICS).exists() else "new"), ""


def _laggards(run: Path, records: Sequence[dict[str, Any]], now: float) -> Iterator[str]:
    """Name the slow rank and its node, and nodes without a heartbeat for more than `SILENT_S`."""
    begun = read_starts(run)
    slow = next((one for one in reversed(records[-SLOW_STEPS:]) if one.get("slow_rank") is not None), None)
    if slow:
        where = f" on {node_of(begun[-1], slow['slow_rank'])}" if begun else ""
        yield f"rank {slow['slow_rank']}{where} is slow: {slow['slow_rank_ratio']:.1f} times the others' time"
    if begun and read_verdict(run, begun[-1].number) is None:
        for node, silence_s in silences_s(run, begun[-1].number, now).items():
            if silence_s > SILENT_S:
                yield f"no heartbeat from {node} for {duration(silence_s)}"


def _silence_s(run: Path, now: float) -> float:
    """Return the seconds since the run last wrote metrics or logs."""
    files = [run / METRICS, *(run / LOGS).glob("*.log")]
    return now - max((file.stat().st_mtime for file in files if file.exists()), default=now)


def _step_s(records: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean seconds per step over the last records."""
    if len(records) < 2:
        return None
    return float((records[-1]["time_s"] - records[0]["time_s"]) / (records[-1]["step"] - records[0]["step"]))


def _left_s(train: TrainConfig, step: int, time_s: float, pace_s: float) -> float:
    """Return the seconds until the last step or the end of the time budget."""
    budget_s = 60 * train.budget_min or math.inf
    return max(0.0, min((train.steps - step) * pace_s, budget_s - time_s))


def _shown(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
