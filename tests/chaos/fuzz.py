"""Damaged inputs for every command: `python -m tests.chaos.fuzz --inputs N [--seed S] [--from K] [--log FILE]`.

Each input is a small workplace (corpus, data set, run, exported model, texts) with one damaged file and one command
that reads it. The command runs through the command line's entry in a fork of a process that has imported everything.

It must end with a documented exit code within 60 s of computation and 1 GiB, print no traceback, and explain code 2
in one line. Every other end is a fault: it is appended to the log, with the damaged file, and makes the exit code 1.
The last line of output is one JSON object of counts. An input depends on the seed and its number only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from configs.exit_codes import DONE, STOPPED, USER_ERROR
from configs.files import sha256_of_file
from tests.chaos.damage import damaged
from tests.chaos.workplace import COMMANDS, Command, make_workplace, targets

CPU_S, WALL_S = 60, 600  # the machine can be busy, so that computation has the limit, and waiting a wide one
MOST_BYTES = 1 << 30
DOCUMENTED = (DONE, USER_ERROR, STOPPED)
WARNINGS = re.compile(r"(\S+ \S+ )?(WARNING|ERROR)\b")  # a line of logging, before the error


@dataclass(frozen=True)
class Outcome:
    """How a command ended on one input. `fault` is empty for a documented end."""

    number: int
    command: str
    file: str
    damage: str
    code: int
    cpu_s: float
    peak_mib: int
    fault: str
    output: str


def main() -> int:
    """Try the inputs, print counts, and return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first input")
    parser.add_argument("--log", type=Path, help="file to which faults are appended")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bertrain-fuzz-") as folder:
        base = make_workplace(Path(folder))
        warm()
        ends = Counter({"inputs": 0, "faults": 0})
        with suppress(KeyboardInterrupt):  # Ctrl-C and SIGTERM end it early, with the counts so far
            for number in range(given.first, given.first + given.inputs):
                outcome = try_input(base, given.seed, number)
                ends.update(["inputs", f"code {outcome.code}", outcome.command])
                if outcome.fault:
                    ends["faults"] += 1
                    report(outcome, given.seed, given.log)
        print(json.dumps({"seed": given.seed, "from": given.first} | ends))
    return int(ends["faults"] > 0)


def warm() -> None:
    """Import what the commands import, so that a fork starts at once."""
    import deepspeed  # noqa: F401 - imported for the forks
    import matplotlib.figure  # noqa: F401 - likewise
    import torch._dynamo
    import torch.utils.tensorboard  # noqa: F401 - likewise
    import transformers  # noqa: F401 - likewise

    import launch.cli
    import launch.display
    import launch.transfer
    import pretrain.trainer  # noqa: F401 - likewise

    for door in (launch.display, launch.transfer):
        for name in door.__all__:
            getattr(door, name)
    gc.freeze()  # so that a fork's garbage collection does not copy what it shares


def try_input(base: Path, seed: int, number: int) -> Outcome:
    """Damage a copy of the workplace, run a command in it, and judge its end."""
    draw = random.Random(f"{seed} {number}")
    command = draw.choice(COMMANDS)
    with tempfile.TemporaryDirectory(prefix="input-", dir=base.parent) as folder:
        place = Path(shutil.copytree(base, Path(folder) / "work", symlinks=True))
        file = draw.choice(targets(place, command))
        name, spoiled = damaged(file.read_bytes(), draw)
        file.write_bytes(spoiled)
        if file.suffix == ".arrow" and draw.random() < 0.5:
            name += ", with its digest"
            state_digest(place, file)
        code, usage, output = run(command, place)
        cpu_s, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10
        fault = fault_of(code, cpu_s, peak, output)
        return Outcome(
            number, command.name, str(file.relative_to(place)), name, code, cpu_s, peak >> 20, fault, output[-3000:]
        )


def state_digest(place: Path, shard: Path) -> None:
    """Make the manifest agree with a damaged shard, as a hostile program would."""
    from preprocessing.dataset import Manifest, write_manifest

    manifest = Manifest.model_validate_json((place / "dataset" / "manifest.json").read_bytes())
    shards = [
        entry.model_copy(update={"bytes": shard.stat().st_size, "sha256": sha256_of_file(shard)})
        if entry.name.endswith(shard.name)
        else entry
        for entry in manifest.shards
    ]
    write_manifest(place / "dataset", manifest.model_copy(update={"shards": shards}))


def run(command: Command, place: Path) -> tuple[int, resource.struct_rusage, str]:
    """Run a command in a fork; return its exit code (minus the signal), its use of resources, and its output."""
    log = place.parent / "output"
    pid = os.fork()
    if pid == 0:
        become(command, place, log)
    deadline = time.monotonic() + WALL_S
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # whatever it started
    return os.waitstatus_to_exitcode(status), usage, log.read_text(errors="replace")


def become(command: Command, place: Path, log: Path) -> None:
    """In the fork: become the command. Never returns."""
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output, stream.fileno())
        os.chdir(place)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
        code = command.enter()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter itself would
        traceback.print_exc()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def fault_of(code: int, cpu_s: float, peak: int, output: str) -> str:
    """Return what is wrong with the end of a command, or ""."""
    if "Traceback" in output or "most recent call first" in output:
        return "traceback"
    if code < 0:
        return f"ended by {signal.Signals(-code).name} after {cpu_s:.0f} s"
    if code not in DOCUMENTED:
        return f"exit code {code}"
    if peak > MOST_BYTES:
        return f"{peak >> 20} MiB"
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    if code == USER_ERROR and (len(errors) != 1 or output.splitlines()[-1] != errors[0]):
        return "code 2 without one line of explanation at the end"
    return ""


def report(outcome: Outcome, seed: int, log: Path | None) -> None:
    """Print a fault, and append it to the log."""
    last = outcome.output.rstrip().rpartition("\n")[2]
    print(f"{outcome.number}: {outcome.command}, {outcome.file}, {outcome.damage}: {outcome.fault}: {last}", flush=True)
    if log:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"seed": seed} | asdict(outcome)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
