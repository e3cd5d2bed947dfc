"""Watch the ranks of one machine from start to end, so that none outlives the others.

- A rank that fails ends the others within seconds: half a second to fall by themselves, then SIGTERM, then SIGKILL.
  What is shown, once, is the failure that came first, not the lost connections that follow from it.
- A rank that is stopped (SIGSTOP, a debugger) for longer than its patience has failed too; one that hangs otherwise
  ends itself. Those that are ended while they hang write the stacks of their threads to their logs first (SIGUSR2);
  so do those that live on ten seconds after a scheduler's SIGTERM.
- SIGINT, SIGTERM and SIGUSR1 are passed on to the ranks, which save and exit with 75. After SIGINT they have four
  seconds; a second SIGINT kills them at once.
- A supervisor that is killed itself takes its ranks along: the kernel sends them SIGKILL (PR_SET_PDEATHSIG).

Ranks have sessions of their own, so that a terminal's Ctrl-C reaches them once, through the supervisor.
"""

from __future__ import annotations

import math
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from configs.exit_codes import DONE, FAILED, STACKS_SIGNAL, STOP_SIGNALS, STOPPED, USER_ERROR, ended_by
from configs.files import explain_write_errors
from launch.ranks.child import dies_with
from launch.ranks.rank_log import TERMINAL, TRACEBACK, LiveOutput, RankLog, Screen, last_words
from launch.ranks.signals import note_signals

POLL_S = 0.1
SETTLE_S = 0.5  # after a failure: a rank that falls by itself tells more than one that is ended
GRACE_S = 4.0  # between a signal that asks and SIGKILL
STACKS_S = 10.0  # after SIGTERM: who is still there may hang, and shows where, before a scheduler kills it

# What a rank says when another one is gone: an effect, not a cause.
CONSEQUENCE = re.compile(
    r"closed by peer|reset by peer|broken pipe|connection refused|remote process exited|recvvalue failed"
    r"|communicator was aborted|socket timeout|timed out waiting|distributed_c10d\.py\", line \d+ in ",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RankCommand:
    """One rank's process: what to execute, what to add to the environment, where its output goes.

    `patience_s`: for how long it may be stopped, before it has failed.
    """

    rank: int
    argv: tuple[str, ...]
    env: dict[str, str]
    log: Path
    patience_s: float = math.inf


class Rank:
    """A rank's process, its log, and how it ended."""

    def __init__(self, command: RankCommand, env: Mapping[str, str]) -> None:
        self.command = command
        self.log = RankLog(command.log)
        self.code: int | None = None
        self.ended_at = math.inf
        self.was_told = False  # to stop or to end, by us
        self.stopped_at = math.inf  # since when it has been stopped, if it is
        self.hung_for_s = 0.0  # how long it had been, when it was ended
        with explain_write_errors(command.log), command.log.open("ab") as stream:
            self.process = subprocess.Popen(
                command.argv,
                env={**os.environ, **command.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with(os.getpid()),
            )
        self.descriptor = os.pidfd_open(self.process.pid)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to a rank that has not been buried."""
        self.was_told = True
        signal.pidfd_send_signal(self.descriptor, number)

    def look(self) -> float:
        """For how many seconds it has been stopped."""
        now = time.monotonic()
        self.stopped_at = min(self.stopped_at, now) if _status(self.process.pid)["State"][:1] in "Tt" else math.inf
        return max(0.0, now - self.stopped_at)

    def show_stacks(self) -> None:
        """Have it write its stacks to its log, even if it is stopped; not if it would die of that."""
        self.hung_for_s = self.look()
        if int(_status(self.process.pid)["SigCgt"], 16) >> (STACKS_SIGNAL - 1) & 1:
            self.tell(STACKS_SIGNAL)
        self.tell(signal.SIGCONT)

    def kill(self) -> None:
        """End it, and all that it started. A dead rank keeps its process group's number until it is buried."""
        self.was_told = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Note how it ended; what it left behind ends too."""
        self.ended_at = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.code = self.process.wait()
        os.close(self.descriptor)

    @property
    def failed(self) -> bool:
        """Ended, neither done nor stopped on request."""
        return self.code not in (None, DONE, STOPPED)

    @property
    def guilt(self) -> tuple[int, float]:
        """Least for the rank whose failure caused the others'."""
        if self.hung_for_s:
            return 1, math.inf  # the others' consequences may be of this; an error of their own is not
        if self.code is not None and self.code < 0 and not self.was_told:
            return 0, self.ended_at  # killed by somebody else
        output = self.log.tail()
        has_reason = not self.was_told or TRACEBACK in output
        return (1 if has_reason and not CONSEQUENCE.search(output) else 2), self.ended_at


class Supervisor:
    """Runs rank processes to their common end. `env` is added to each rank's environment.

    The exit code is 0 when all are done; 75 when they stopped on request, with a checkpoint; 2 when the user's input is
    wrong; 128 + signal when they were asked to stop and had not saved; 1 otherwise.
    """

    def __init__(self, commands: Sequence[RankCommand], env: Mapping[str, str], screen: Screen = TERMINAL) -> None:
        self.commands = commands
        self.env = env
        self.screen = screen
        self.ranks: list[Rank] = []
        self.received: list[signal.Signals] = []  # not yet passed on
        self.asked: signal.Signals | None = None  # the first of them
        self.terminate_at = math.inf  # known when a rank has failed
        self.kill_at = math.inf
        self.stacks_at = math.inf  # known after SIGTERM

    def run(self) -> int:
        """Start, watch, and leave nothing running, whatever happens here."""
        with note_signals(STOP_SIGNALS, self.received), selectors.DefaultSelector() as selector:
            try:
                for command in self.commands:
                    rank = Rank(command, self.env)
                    self.ranks.append(rank)
                    selector.register(rank.descriptor, selectors.EVENT_READ, rank)
                live = LiveOutput(self.ranks[0].log, self.screen.show)
                self._watch(selector, live)
            finally:
                for rank in self._alive():
                    rank.bury()
        return self._verdict(live)

    def _watch(self, selector: selectors.BaseSelector, live: LiveOutput) -> None:
        while self._alive():
            for key, _ in selector.select(POLL_S):
                selector.unregister(key.fileobj)
                self._note_end(key.data)
            self._pass_on()
            self._look_for_stopped()
            self._show_stacks_when_due()
            self._end_the_rest()
            if self.terminate_at == math.inf:  # after a failure, rank 0 may only echo it
                live.show()

    def _note_end(self, rank: Rank) -> None:
        rank.bury()
        if rank.failed:
            self.terminate_at = min(self.terminate_at, rank.ended_at + SETTLE_S)

    def _pass_on(self) -> None:
        """Hand the received signals to the ranks."""
        while self.received:
            number = self.received.pop(0)
            if self.terminate_at == math.inf:  # else the end has another cause
                self.asked = self.asked or number
            if number == signal.SIGINT:
                patience_s = GRACE_S if self.kill_at == math.inf else 0.0
                self.kill_at = min(self.kill_at, time.monotonic() + patience_s)
            if number == signal.SIGTERM:
                self.stacks_at = min(self.stacks_at, time.monotonic() + STACKS_S)
            for rank in self._alive():
                rank.tell(number)

    def _look_for_stopped(self) -> None:
        if any(rank.look() > rank.command.patience_s for rank in self._alive()):
            self.terminate_at = min(self.terminate_at, time.monotonic())

    def _show_stacks_when_due(self) -> None:
        if time.monotonic() >= self.stacks_at:
            self.stacks_at = math.inf
            for rank in self._alive():
                rank.show_stacks()

    def _end_the_rest(self) -> None:
        """After a failure, or when the grace is over."""
        now = time.monotonic()
        if now >= self.kill_at:
            for rank in self._alive():
                rank.kill()
        elif now >= self.terminate_at and self.kill_at > self.terminate_at + GRACE_S:
            self.kill_at = self.terminate_at + GRACE_S
            for rank in self._alive():
                rank.show_stacks()
                rank.tell(signal.SIGTERM)

    def _alive(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.code is None]

    def _verdict(self, live: LiveOutput) -> int:
        failed = [rank for rank in self.ranks if rank.failed]
        if not failed:
            live.show(everything=True)
            return STOPPED if any(rank.code == STOPPED for rank in self.ranks) else DONE
        culprit = min(failed, key=lambda rank: rank.guilt)
        if self.asked and (self.asked == signal.SIGINT or (culprit.was_told and _killed(culprit))):
            self.screen.say(
                f"stopped by {self.asked.name} before all ranks had saved; a resume takes the last checkpoint"
            )
            return ended_by(self.asked)
        _report(culprit, culprit.log.tail() if culprit is not self.ranks[0] else live.hidden(), self.screen.say)
        return USER_ERROR if culprit.code == USER_ERROR else FAILED


def _report(rank: Rank, output: str, say: Callable[[str], None]) -> None:
    """Say once what failed and why."""
    errors = [line for line in rank.log.tail().splitlines() if line.startswith("error: ")]
    if rank.code == USER_ERROR and errors:
        say(errors[-1])
        return
    assert rank.code is not None
    how = f"was killed by {signal.Signals(-rank.code).name}" if rank.code < 0 else f"failed with exit code {rank.code}"
    if rank.hung_for_s:
        how = f"was stopped by somebody, and ended after {rank.hung_for_s:.0f} s"
    say(last_words(output))
    say(f"rank {rank.command.rank} {how}; its log: {rank.command.log}")


def _status(pid: int) -> dict[str, str]:
    """What the kernel tells of a process that has not been buried."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _killed(rank: Rank) -> bool:
    return rank.code is not None and rank.code < 0
