"""The verdict on a start of a job: done, requeue (and without which node), or give up.

It rests on the records of the ranks (launch/ranks/starts.py) and on what srun says about them, not on the scheduler's
exit code, which reports the signal that came first and not its cause. A node is excluded only on evidence:

- one of its ranks failed by itself, before the others;
- srun names it as the node on which a task failed;
- its ranks never began although others did, or it is the only node whose ranks left no record.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE, FAILED, STOPPED, USER_ERROR, ended_by, is_ended_by_signal
from configs.files import open_regular
from configs.recipe import load_recipe
from configs.run_layout import CHECKPOINTS, LOGS, RECIPE, checkpoint_name, start_folder
from launch.cluster.batch_script import TRAIN
from launch.ranks import (
    RankEnd,
    Start,
    Verdict,
    is_stop_requested,
    newest_step,
    node_of,
    ranks_begun,
    read_ends,
    read_starts,
    read_verdict,
    record_verdict,
)
from pretrain.checkpoint import Superseded, newest_start

INTERRUPTED = ended_by(signal.SIGTERM)
CONSEQUENCE = 2  # the `fault` of a rank that lost the connection to another one
SRUN_LOG = "srun.log"  # in the start's folder: what srun wrote to standard error
# E.g. "srun: error: n4: task 3: Exited with exit code 127", or "srun: error: Node failure on n2".
_FAILED_TASK = re.compile(r"^srun: error: (\S+): tasks? [\d,-]+: Exited with exit code (\d+)", re.MULTILINE)
_FAILED_NODE = re.compile(
    r"^srun: error: (?:Node failure on|Task launch for .* failed on node) (\S+?)[:,]?(?:\s|$)", re.M
)
SILENT = "silent"  # in the start's folder: the node that stopped sending heartbeats
# While the step runs, before srun could begin it, or while it began: by then Slurm has ended this run of the job.
_INTERRUPTION = re.compile(
    r"DUE TO (?:PREEMPTION|JOB REQUEUE)|Job credential revoked"
    r"|Unable to confirm allocation .*: Job is pending execution"
)


# Of the daemon of the job's script, which can be killed before it records anything. The script itself also requeues.
_PREEMPTION = re.compile(r"^slurmstepd\S*: error: \*\*\* JOB .* DUE TO PREEMPTION", re.MULTILINE)
LOG_BYTES = 16 << 20  # at the end of the job's log, to which rank 0 writes, too


@dataclass(frozen=True)
class Evidence:
    """What is known about the ranks of a start at its end."""

    ends: Sequence[RankEnd]
    begun: frozenset[int] = frozenset()
    named: str = ""  # the first node that srun names as failed, or that sent no more heartbeats
    was_interrupted: bool = False  # Slurm ended the step, to run another job or to requeue this one, or a signal did
    was_stopped: bool = False  # by the user


def end_start(run: Path, start: Start, refusal: str = "", *, was_interrupted: bool = False) -> Verdict:
    """Determine how the start ended, record the verdict, and return it. A full disk does not change it.

    `refusal` is an error in the user's input that the launcher has found, if any. `was_interrupted`: the launcher has
    received a stop signal.
    """
    found = read_evidence(run, start)
    found = replace(found, was_interrupted=found.was_interrupted or was_interrupted)
    verdict = judge(start, found) if not refusal else Verdict(USER_ERROR, False, refusal)
    if (newest := newest_start(run)) > start.number:
        verdict = Verdict(FAILED, False, str(Superseded(newest)))
    if verdict.requeue:
        try:
            check_restart_limit(run, including=verdict)
        except UserError as error:
            verdict = replace(verdict, requeue=False, reason=str(error))
    with suppress(OSError):
        record_verdict(run, start.number, verdict)
    return verdict


def read_evidence(run: Path, start: Start) -> Evidence:
    """Read what the ranks of a start, srun and the user have left in the run's folder."""
    folder = start_folder(run, start.number)
    said = _text(folder / SRUN_LOG)
    return Evidence(
        ends=read_ends(run, start.number),
        begun=frozenset(ranks_begun(run, start.number)),
        named=node_named_in(said) or _text(folder / SILENT).strip(),
        was_interrupted=bool(_INTERRUPTION.search(said) or _PREEMPTION.search(_in_job_log(run, start.number))),
        was_stopped=is_stop_requested(run, start),
    )


def node_named_in(srun_log: str) -> str:
    """Return the first node that srun names as failed; empty if it names none."""
    tasks = [match[1] for match in _FAILED_TASK.finditer(srun_log) if not is_ended_by_signal(int(match[2]))]
    nodes = [match[1] for match in _FAILED_NODE.finditer(srun_log)]
    return next(iter((*nodes, *tasks)), "")


def judge(start: Start, found: Evidence) -> Verdict:
    """Return the verdict on the evidence, without the limit on restarts. A pure function."""
    codes = {one.code for one in found.ends}
    is_complete = len(found.ends) == start.ranks
    if is_complete and codes == {DONE}:
        return Verdict(DONE, False, "done")
    if is_complete and codes == {USER_ERROR}:
        return Verdict(USER_ERROR, False, found.ends[0].error)
    if found.was_stopped:
        return Verdict(STOPPED, False, "stopped on request; submit it again to resume")
    if is_complete and codes <= {DONE, STOPPED}:
        return Verdict(STOPPED, True, "stopped with a checkpoint")
    return _failure(start, found)


def record_silence(run: Path, number: int, node: str) -> None:
    """Record that a node of a start, or with "" none that can be named, has stopped sending heartbeats."""
    (start_folder(run, number) / SILENT).write_text(node + "\n", encoding="utf-8")


def check_restart_limit(run: Path, including: Verdict | None = None) -> None:
    """Raise `UserError` if too many starts in a row failed without a new checkpoint.

    `including` is the verdict on the newest start if it is not recorded yet. A start that was ended from outside, by a
    preemption or a requeue, does not count.
    """
    limit = load_recipe(run / RECIPE).cluster.max_restarts
    count = failures_without_checkpoint(run, including)
    if count > limit:
        raise UserError(
            f"{count} starts in a row saved no new checkpoint (the newest is step {newest_step(run)}): giving up",
            place=str(run),
            fix=f"see {run / 'logs'}; cluster.max_restarts is {limit}",
        )


def check_finished(run: Path) -> None:
    """Raise `UserError` unless a run has the checkpoint of its last step."""
    from pretrain.checkpoint import read_state  # here, as in launch/ranks/starts.py
    from pretrain.engine import is_over

    train, step = load_recipe(run / RECIPE).train, newest_step(run)
    time_s = read_state(run / CHECKPOINTS / checkpoint_name(step)).time_s if step and train.budget_min else 0.0
    if not is_over(step, time_s, train):
        cause = f"the run that this job follows is not finished: its newest checkpoint is step {step} of {train.steps}"
        fix = "see its logs and `bertrain status`; submit both again, and it resumes"
        raise UserError(cause, place=str(run), fix=fix)


def failures_without_checkpoint(run: Path, including: Verdict | None = None) -> int:
    """Return the number of latest starts, back to the user's, that failed and brought no new checkpoint."""
    step, count = newest_step(run), 0
    for index, start in enumerate(_of_the_newest_job(run)):
        if start.step < step:
            break
        verdict = including if index == 0 and including else read_verdict(run, start.number)
        verdict = verdict or judge(start, read_evidence(run, start))
        count += verdict.code not in (DONE, STOPPED, INTERRUPTED)
    return count


def _failure(start: Start, found: Evidence) -> Verdict:
    """Return the verdict on a start that neither finished nor stopped as a whole."""
    failed = [one for one in found.ends if one.code not in (DONE, STOPPED) and not is_ended_by_signal(one.code)]
    causes = [one for one in failed if one.fault < CONSEQUENCE]
    if causes:
        first = min(causes, key=lambda one: one.time)
        return Verdict(FAILED, True, f"rank {first.rank} on {first.node}: {first.error}", first.node)
    if found.named and not found.was_interrupted:
        return Verdict(FAILED, True, f"{found.named} failed, and left no other reason", found.named)
    silent = set(range(start.ranks)) - {one.rank for one in found.ends}
    if failed:
        return _lost_ranks(start, failed, silent - found.begun, silent)
    if found.ends or found.was_interrupted:
        return Verdict(INTERRUPTED, True, "ended from outside, by a signal, a preemption or a requeue")
    return Verdict(FAILED, True, "no rank left a record")


def _lost_ranks(start: Start, failed: Sequence[RankEnd], *silent: set[int]) -> Verdict:
    """Return the verdict if ranks lost others: the first set of silent ranks that is on a single node shows which."""
    for ranks in silent:
        nodes = {node_of(start, rank) for rank in ranks}
        if len(nodes) == 1:
            return Verdict(FAILED, True, f"rank {min(ranks)} on {(node := nodes.pop())}: no record of its end", node)
    first = min(failed, key=lambda one: one.time)
    return Verdict(FAILED, True, f"rank {first.rank} on {first.node}: {first.error}")


def _of_the_newest_job(run: Path) -> Iterator[Start]:
    for start in reversed(read_starts(run)):
        yield start
        if start.is_first:
            return


def _in_job_log(run: Path, number: int) -> str:
    """Return what the job's log says from the beginning of a start to that of the next one."""
    try:
        with open_regular(run / LOGS / TRAIN.log) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition(f"bertrain: start {number} of ")[2].partition(f"bertrain: start {number + 1} of ")[0]


def _text(file: Path) -> str:
    try:
        with open_regular(file) as stream:
            return stream.read(LOG_BYTES).decode(errors="replace")
    except OSError:
        return ""
