"""`bertrain status`: the state of runs, read from their folders and from Slurm's queue if there is one.

States: done, running, silent (running, but without a step for long), waiting (in the queue), stopped, failed, new.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from configs.errors import UserError
from configs.exit_codes import DONE, STOPPED
from configs.files import read_bounded
from configs.run_layout import LOGS, METRICS, RANK_LOGS, RECIPE
from launch.cluster import (
    BEGIN,
    EXPORT,
    PREPARE,
    TRAIN,
    QueuedJob,
    jobs_of,
    queued_jobs,
)
from launch.display.pace import left_s, step_s
from launch.ranks import (
    TRACEBACK,
    Start,
    find_run,
    last_words,
    newest_step,
    node_of,
    process_training_in,
    read_starts,
    read_verdict,
    silences_s,
)
from launch.terminal import console, plain_table
from pretrain.engine import is_over
from pretrain.telemetry import duration, goodput_share, losses_text, tail_of_metrics

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
    goodput: float | None = None  # share of the wall time in steps that count
    held_out_loss: float | None = None  # masked-LM loss of the last evaluation


def read_status(run: Path, jobs: Sequence[QueuedJob], now: float | None = None) -> Status:
    """Return the status of a run. `jobs` is Slurm's queue. Raise `UserError` if `run` is not a run folder."""
    recipe = find_run(run)
    tail = tail_of_metrics(run)
    records = tail.merged
    last = records[-1] if records else {}
    step = int(last.get("step", 0))
    steps, time_s = recipe.train.steps, float(last.get("time_s") or 0.0)
    is_done = is_over(step, time_s, recipe.train) and newest_step(run) >= step  # what was not saved is not done
    state, detail = _state(run, is_done, jobs_of(run, jobs))
    if tail.left_out:
        detail = "; ".join(filter(None, [detail, f"{tail.left_out} damaged line(s) at the end of {METRICS}"]))
    pace, now = step_s(records), now or time.time()
    if state == "running":
        detail = "; ".join([detail, *_laggards(run, records, now)])
        if _silence_s(run, now) > max(SILENT_S, 20 * (pace or 0.0)):
            state = "silent"
    detail = "; ".join(filter(None, [detail, losses_text(last)]))
    return Status(
        run=run,
        state=state,
        detail=detail,
        steps=steps,
        step=step,
        loss=last.get("loss"),
        tokens_per_s=last.get("tokens_per_s"),
        mfu=last.get("mfu"),
        eta_s=left_s(recipe.train, step, time_s, pace) if pace is not None and state != "done" else None,
        restarts=sum(not start.is_first for start in read_starts(run)),
        checkpoint=newest_step(run),
        goodput=goodput_share(last),
        held_out_loss=next(filter(None, (record.get("valid_mlm_loss") for record in reversed(records))), None),
    )


def status_table(statuses: Sequence[Status]) -> Table:
    """Return a table with one run per row. It fits 80 columns; only a long name is folded to fit."""
    result = plain_table("run", "state", "step", "loss", "tokens/s", "MFU", "ETA")
    for column in result.columns[1:]:
        column.no_wrap = True
    for one in statuses:
        colour = STATE_COLOURS.get(one.state, "default")
        result.add_row(
            one.run.name.replace("[", r"\["),
            f"[{colour}]{one.state}[/]",
            f"{one.step}/{one.steps}",
            _shown(one.loss, ".4f"),
            _shown(one.tokens_per_s, ",.0f"),
            _shown(one.mfu, ".1%"),
            "" if one.eta_s is None else duration(one.eta_s),
        )
    return result


def status_report(statuses: Sequence[Status], *errors: str) -> Group:
    """Return the table, and below it a line per run and the errors of runs that cannot be read."""
    return Group(status_table(statuses), *map(Text, (*map(notes, statuses), *errors)))


def notes(one: Status) -> str:
    """Return what belongs below the table: checkpoint, restarts, goodput and detail, in one line."""
    newest = f"checkpoint {one.checkpoint}" if one.checkpoint else "no checkpoint" * bool(one.step)
    restarts = f"{one.restarts} restart(s)" * bool(one.restarts)
    goodput = "" if one.goodput is None else f"goodput {one.goodput:.1%}"
    held_out = "" if one.held_out_loss is None else f"held-out loss {one.held_out_loss:.4f}"
    parts = filter(None, [held_out, newest, restarts, goodput, one.detail])
    return f"{one.run.name}: {'; '.join(parts) or 'not started'}"


def show_status(runs: Sequence[Path], *, watch: bool) -> None:
    """Print the table; with `watch`, refresh it every `WATCH_S` seconds until Ctrl-C.

    Raises `UserError` for runs that cannot be read, after the table of the others.
    """
    screen = console()
    if not watch:
        statuses, errors = read_statuses(runs)
        if statuses:
            screen.print(status_report(statuses))
        if errors:
            raise _unreadable(errors, len(statuses) + len(errors))
        return
    if not screen.is_terminal:  # `Live` would print to a pipe once, at its end
        while True:
            screen.print(_read_report(runs))
            time.sleep(WATCH_S)
    with Live(_read_report(runs), console=screen, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(_read_report(runs), refresh=True)


def read_statuses(runs: Sequence[Path]) -> tuple[list[Status], list[UserError]]:
    """Return the status of each run that can be read, and the errors of the others.

    A folder of runs stands for the runs in it.
    """
    runs = list(chain.from_iterable(map(runs_in, runs)))
    jobs, statuses, errors = queued_jobs(runs), [], []
    for run in runs:
        try:
            statuses.append(read_status(run, jobs))
        except UserError as error:
            errors.append(error)
        except OSError as error:
            fix = "check the folder and its permissions"
            errors.append(UserError(f"cannot read: {error.strerror}", place=error.filename or str(run), fix=fix))
    return statuses, errors


def runs_in(place: Path) -> list[Path]:
    """Return the runs in a folder of runs; a run, or a folder without runs, stands for itself."""
    if (place / RECIPE).is_file() or not place.is_dir():
        return [place]
    return sorted(folder.parent for folder in place.glob(f"*/{RECIPE}")) or [place]


def _unreadable(errors: Sequence[UserError], runs: int) -> UserError:
    first = errors[0]
    if len(errors) == runs == 1:
        return first
    return UserError(
        f"{len(errors)} of {runs} runs cannot be read; the first: {first.cause}", place=first.place, fix=first.fix
    )


def last_error(run: Path) -> str:
    """Return the last line of the error of the rank that failed first; empty if no rank failed."""
    logs = sorted(filter(Path.is_file, (run / LOGS).glob(RANK_LOGS)), key=lambda log: log.stat().st_mtime)
    for log in logs:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
        last = text.rstrip().rpartition("\n")[2]
        if last.startswith("error: ") or TRACEBACK in last_words(text)[:200]:
            return last
    return ""


def _read_report(runs: Sequence[Path]) -> Group:
    statuses, errors = read_statuses(runs)
    return status_report(statuses, *([str(_unreadable(errors, len(statuses) + len(errors)))] if errors else []))


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
    if useless := _script_without_start(run, begun):
        return ("stopped" if (run / METRICS).exists() else "new"), useless
    verdict = read_verdict(run, begun[-1].number) if begun else None
    if verdict is not None and verdict.reason:
        return ("stopped" if verdict.code in (DONE, STOPPED) else "failed"), verdict.reason
    if error := last_error(run):
        return "failed", error
    return ("stopped" if (run / METRICS).exists() else "new"), ""


def _script_without_start(run: Path, begun: Sequence[Start]) -> str:
    """Return what is wrong with a script whose jobs start nothing; empty if there is no such script.

    Slurm reports a job as completed, too, whose script was cut before its first command.
    """
    try:
        text = read_bounded(run / TRAIN.script).decode(errors="replace")
    except OSError:
        return ""
    if BEGIN not in text:
        return f"{TRAIN.script} is cut, and its jobs start nothing: submit the run again, which writes it anew"
    return "" if begun else "no start is recorded, and no job is in Slurm's queue here: submit the run again"


def _laggards(run: Path, records: Sequence[dict[str, Any]], now: float) -> Iterator[str]:
    """Name the slow rank and its node, and nodes without a heartbeat for more than `SILENT_S`."""
    begun = read_starts(run)
    slow = next((one for one in reversed(records[-SLOW_STEPS:]) if one.get("slow_rank") is not None), None)
    if slow:
        where = f" on {node_of(begun[-1], slow['slow_rank'])}" if begun else ""
        ratio = _shown(slow.get("slow_rank_ratio"), ".1f") or "several"
        yield f"rank {slow['slow_rank']}{where} is slow: {ratio} times the others' time"
    if begun and read_verdict(run, begun[-1].number) is None:
        for node, silence_s in silences_s(run, begun[-1].number, now).items():
            if silence_s > SILENT_S:
                yield f"no heartbeat from {node} for {duration(silence_s)}"


def _silence_s(run: Path, now: float) -> float:
    """Return the seconds since the run last wrote metrics or logs."""
    files = [run / METRICS, *(run / LOGS).glob("*.log")]
    return now - max((file.stat().st_mtime for file in files if file.exists()), default=now)


def _shown(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
