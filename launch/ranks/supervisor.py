"""Run the ranks of one machine from start to end, so that no rank outlives the others.

- If a rank fails, the others end within seconds: they have half a second to fail by themselves, then get SIGTERM, then
  SIGKILL. The supervisor reports, once, the failure that came first, and not the lost connections that follow from it.
- A rank that is stopped (by SIGSTOP or a debugger) for longer than `patience_s` counts as failed. Ranks that hang for
  other reasons end themselves. Before the supervisor ends a rank, the rank writes the stacks of its threads to its log
  (SIGUSR2). So does a rank that still runs twenty seconds after a scheduler's SIGTERM.
- SIGINT, SIGTERM, SIGUSR1 and a scheduler's SIGHUP are forwarded to the ranks, which save and exit with 75. A second
  SIGINT kills them immediately.
- If the supervisor itself is killed, the kernel sends the ranks SIGKILL (PR_SET_PDEATHSIG).

Each rank has its own session, so that a terminal's Ctrl-C reaches it only once, through the supervisor.

torchrun starts ranks, too, and bertrain runs under it. But it starts a run again that was stopped on request, ends such
a run with 1, passes no SIGUSR1 to the ranks, and does not say which rank failed first.
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

from configs.exit_codes import (
    DONE,
    FAILED,
    STACKS_SIGNAL,
    STOP_SIGNALS,
    STOPPED,
    USER_ERROR,
    ended_by,
    is_ended_by_signal,
)
from configs.files import explain_write_errors, not_through_links
from configs.machine import dies_with
from launch.ranks.rank_log import TERMINAL, TRACEBACK, LiveOutput, RankLog, Screen, last_words
from launch.ranks.signals import note_signals

POLL_S = 0.1
SETTLE_S = 0.5  # after a failure: a rank that fails by itself reports more than one that is killed
GRACE_S = 4.0  # between SIGTERM and SIGKILL, after a failure
STACKS_S = 20.0  # after SIGTERM: a rank that still runs may hang; its stacks show where, before a scheduler kills it

# Errors of a rank that lost the connection to another one: a consequence, not the cause.
CONSEQUENCE = re.compile(
    r"closed by peer|reset by peer|broken pipe|connection refused|remote process exited|recvvalue failed"
    r"|communicator was aborted|socket timeout|timed out waiting|distributed_c10d\.py\", line \d+ in ",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RankCommand:
    """The process of a rank: its argv, the variables to add to its environment, and its log.

    `patience_s` is how long the rank can be stopped (SIGSTOP) before it counts as failed.
    """

    rank: int
    argv: tuple[str, ...]
    env: dict[str, str]
    log: Path
    patience_s: float = math.inf


class Rank:
    """The process of a rank, its log, and how it ended."""

    def __init__(self, command: RankCommand, env: Mapping[str, str]) -> None:
        self.command = command
        self.log = RankLog(command.log)
        self.code: int | None = None
        self.ended_at = math.inf
        self.was_signalled = False  # by the supervisor
        self.stopped_at = math.inf  # when it was stopped; infinite while it runs
        self.hung_for_s = 0.0  # how long it had been stopped when it was ended
        with explain_write_errors(command.log), open(command.log, "ab", opener=not_through_links) as stream:
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

    def send(self, number: signal.Signals) -> None:
        """Send a signal. The rank's end must not have been collected yet."""
        self.was_signalled = True
        signal.pidfd_send_signal(self.descriptor, number)

    def stopped_for_s(self) -> float:
        """Return the seconds for which it has been stopped (SIGSTOP); 0 while it runs."""
        now = time.monotonic()
        self.stopped_at = min(self.stopped_at, now) if _status(self.process.pid)["State"][:1] in "Tt" else math.inf
        return max(0.0, now - self.stopped_at)

    def show_stacks(self) -> None:
        """Make it write its stacks to its log, also if it is stopped, unless it has no handler and would die."""
        self.hung_for_s = self.stopped_for_s()
        if self.handles(STACKS_SIGNAL):
            self.send(STACKS_SIGNAL)
        self.send(signal.SIGCONT)

    def handles(self, number: signal.Signals) -> bool:
        """Return whether it has a handler for this signal, which would otherwise end it."""
        return bool(int(_status(self.process.pid)["SigCgt"], 16) >> (number - 1) & 1)

    def kill(self) -> None:
        """Kill it and its child processes. Its process group exists until `collect`, even if the rank has ended."""
        self.was_signalled = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def collect(self) -> None:
        """Kill its remaining child processes, and record its exit code and time."""
        self.ended_at = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.code = self.process.wait()
        os.close(self.descriptor)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error: neither done nor stopped on request."""
        return self.code not in (None, DONE, STOPPED)

    @property
    def fault(self) -> tuple[int, float]:
        """Sort key: smallest for the rank that caused the failure of the others."""
        if self.hung_for_s:
            return 1, math.inf  # before lost connections, which it may have caused, but after other ranks' own errors
        if self.code is not None and self.code < 0 and not self.was_signalled:
            return 0, self.ended_at  # killed from outside
        output = self.log.tail()
        has_reason = not self.was_signalled or TRACEBACK in output
        return (1 if has_reason and not CONSEQUENCE.search(output) else 2), self.ended_at


class Supervisor:
    """Run rank processes until all have ended. `env` is added to each rank's environment.

    `early` are stop signals that came before; the ranks get them as soon as they can handle them.

    The exit code is 0 if all ranks are done, 75 if they stopped on request with a checkpoint, 2 if the user's input is
    wrong, 128 + signal if a signal stopped them before they saved, and 1 otherwise.
    """

    def __init__(
        self,
        commands: Sequence[RankCommand],
        env: Mapping[str, str],
        screen: Screen = TERMINAL,
        early: list[signal.Signals] | None = None,
    ) -> None:
        self.commands = commands
        self.env = env
        self.screen = screen
        self.ranks: list[Rank] = []
        self.early = early if early is not None else []
        self.received: list[signal.Signals] = []  # not yet forwarded
        self.stop_signal: signal.Signals | None = None  # the first one received
        self.interrupts = 0
        self.terminate_at = math.inf  # set when a rank fails
        self.kill_at = math.inf
        self.stacks_at = math.inf  # set after SIGTERM

    def run(self) -> int:
        """Start the ranks, wait for their end, and return the exit code. Kill all ranks if an exception occurs."""
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
                    rank.collect()
        code = self._verdict(live)
        self.screen.drain()
        return code

    def _watch(self, selector: selectors.BaseSelector, live: LiveOutput) -> None:
        while self._alive():
            for key, _ in selector.select(POLL_S):
                selector.unregister(key.fileobj)
                self._collect(key.data)
            self._forward_signals()
            self._check_stopped()
            self._show_stacks_when_due()
            self._end_remaining()
            if self.terminate_at == math.inf:  # after a failure, rank 0 can print errors that follow from it
                live.show()

    def _collect(self, rank: Rank) -> None:
        rank.collect()
        if rank.failed:
            self.terminate_at = min(self.terminate_at, rank.ended_at + SETTLE_S)

    def _forward_signals(self) -> None:
        """Send the received signals to the ranks."""
        while self.early and all(rank.handles(self.early[0]) for rank in self._alive()):
            self.received.append(self.early.pop(0))
        while self.received:
            number = self.received.pop(0)
            if self.terminate_at == math.inf:  # else the ranks end because of a failure
                self.stop_signal = self.stop_signal or number
            if number == signal.SIGINT:
                self._interrupt()
            if number == signal.SIGTERM:
                self.stacks_at = min(self.stacks_at, time.monotonic() + STACKS_S)
            for rank in self._alive():
                rank.send(number)

    def _interrupt(self) -> None:
        """Handle Ctrl-C: the first has no deadline, because a step, an evaluation or a save can be long."""
        self.interrupts += 1
        if self.interrupts > 1:
            self.kill_at = time.monotonic()
        elif self.terminate_at == math.inf:
            self.screen.say("stopping after this step; press Ctrl-C again to stop at once")

    def _check_stopped(self) -> None:
        if any(rank.stopped_for_s() > rank.command.patience_s for rank in self._alive()):
            self.terminate_at = min(self.terminate_at, time.monotonic())

    def _show_stacks_when_due(self) -> None:
        if time.monotonic() >= self.stacks_at:
            self.stacks_at = math.inf
            for rank in self._alive():
                rank.show_stacks()

    def _end_remaining(self) -> None:
        """End the remaining ranks after a failure, and kill them when their time is over."""
        now = time.monotonic()
        if now >= self.kill_at:
            for rank in self._alive():
                rank.kill()
        elif now >= self.terminate_at and self.kill_at > self.terminate_at + GRACE_S:
            self.kill_at = self.terminate_at + GRACE_S
            for rank in self._alive():
                rank.show_stacks()
                rank.send(signal.SIGTERM)

    def _alive(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.code is None]

    def _verdict(self, live: LiveOutput) -> int:
        failed = [rank for rank in self.ranks if rank.failed]
        if not failed:
            live.show(everything=True)
            return STOPPED if any(rank.code == STOPPED for rank in self.ranks) else DONE
        culprit = min(failed, key=lambda rank: rank.fault)
        if self.stop_signal and (self.interrupts > 1 or (culprit.was_signalled and _ended_by_signal(culprit))):
            self.screen.say(
                f"stopped by {self.stop_signal.name} before all ranks saved; the run resumes from the last checkpoint"
            )
            return ended_by(self.stop_signal)
        _report(culprit, culprit.log.tail() if culprit is not self.ranks[0] else live.hidden(), self.screen.say)
        return USER_ERROR if culprit.code == USER_ERROR else FAILED


def _report(rank: Rank, output: str, say: Callable[[str], None]) -> None:
    """Report the failed rank and its error."""
    errors = [line for line in rank.log.tail().splitlines() if line.startswith("error: ")]
    if errors and (rank.code == USER_ERROR or TRACEBACK not in rank.log.tail()):
        say(errors[-1])
        return
    assert rank.code is not None
    how = f"was killed by {signal.Signals(-rank.code).name}" if rank.code < 0 else f"failed with exit code {rank.code}"
    if rank.hung_for_s:
        how = f"was stopped (SIGSTOP or debugger), and ended after {rank.hung_for_s:.0f} s"
    say(last_words(output))
    say(f"rank {rank.command.rank} {how}; its log: {rank.command.log}")


def _status(pid: int) -> dict[str, str]:
    """Return the kernel's status of a process that has not been collected."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _ended_by_signal(rank: Rank) -> bool:
    """Return whether a signal ended it. Python that is still starting reports Ctrl-C as a failure of its imports."""
    if rank.code is None or rank.code < 0:
        return rank.code is not None
    return is_ended_by_signal(rank.code) or rank.log.tail().rstrip().endswith("\nKeyboardInterrupt")
