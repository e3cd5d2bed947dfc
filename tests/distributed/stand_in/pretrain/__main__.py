"""A trainer without torch, for tests of the launcher: `python -m pretrain RUN`, with the same contract and folder.

Its ranks meet at MASTER_ADDR:MASTER_PORT and agree before every step whether one of them was asked to stop, and whether
a newer start owns the run. Each record names its start. RUN/fault
says what is to go wrong, once: `STEP RANK raise|kill|2`; with `always` in front, in each start; with RANK `all`, in
each rank.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
from configs.files import atomic_write_text  # noqa: E402 (after the handlers)
from configs.machine import threads_of_rank  # noqa: E402
from pretrain.checkpoint import Ownership  # noqa: E402 (after the handlers)
from pretrain.stop import StopRequest  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("run", type=Path)
parser.add_argument("--resume")
parser.add_argument("--start", type=int, default=0)
given = parser.parse_args()
run, owner, requested = given.run, Ownership(given.run, given.start), StopRequest()
rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
meeting = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
# torchrun's agent itself listens on MASTER_PORT; there, this file names the port on which rank 0 listens.
is_of_agent = "TORCHELASTIC_RUN_ID" in os.environ
agent = run / f"meeting_{meeting[1]}_{os.environ['TORCHELASTIC_RESTART_COUNT']}.json" if is_of_agent else None
steps, step_s = json.loads((run / "stand_in.json").read_text())
print(f"rank {rank} of {world_size}, local {os.environ['LOCAL_RANK']}/{os.environ['LOCAL_WORLD_SIZE']}", flush=True)
print(
    f"{len(os.sched_getaffinity(0))} cores, {threads_of_rank(int(os.environ['LOCAL_WORLD_SIZE']))} threads", flush=True
)


SUPERSEDED = 2
if rank == 0:
    requested.read_file_of(run, given.start)


def meet() -> list[socket.socket]:
    if rank == 0:
        with socket.create_server(("127.0.0.1", 0) if agent else meeting) as server:
            if agent:
                atomic_write_text(agent, json.dumps(server.getsockname()))
            return [server.accept()[0] for _ in range(world_size - 1)]
    for _ in range(1_200):
        try:
            return [socket.create_connection(json.loads(agent.read_text()) if agent else meeting)]
        except (ConnectionRefusedError, FileNotFoundError):
            time.sleep(0.05)
    raise TimeoutError(meeting)


def largest_on_any_rank(value: int, others: list[socket.socket]) -> int:
    if rank == 0:
        largest = max(value, *(read(other) for other in others), 0)
        for other in others:
            other.sendall(bytes([largest]))
        return largest
    others[0].sendall(bytes([value]))
    return read(others[0])


def read(other: socket.socket) -> int:
    received = other.recv(1)
    if not received:
        raise ConnectionError("Connection closed by peer")
    return received[0]


def fault(step: int) -> None:
    file = run / "fault"
    try:
        *always, at, who, what = file.read_text().split()
    except FileNotFoundError:  # none was planned, or the rank that it meant has just removed it
        return
    if step != int(at) or who not in (str(rank), "all"):
        return
    if not always:
        file.unlink()
    if what == "raise":
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write("error: the data set does not fit\n")
    sys.exit(2)


def save(step: int) -> None:
    folder = run / "checkpoints" / f"step_{step:08}"
    folder.mkdir(parents=True, exist_ok=True)
    time.sleep(0.2)
    (folder / "state.json").write_text("{}")


saved = [int(state.parent.name[5:]) for state in run.glob("checkpoints/step_*/state.json")]
step = max(saved, default=0)
others = meet()
while step < steps:
    fault(step)
    newer = owner.superseded_by() if rank == 0 else 0
    decision = largest_on_any_rank(SUPERSEDED if newer else int(bool(requested)), others)
    if decision == SUPERSEDED:
        sys.stderr.write("error: superseded by a newer start\n")
        sys.exit(1)
    stopping = bool(decision)
    time.sleep(step_s)
    step += 1
    if rank == 0:
        print(f"step {step}", flush=True)
        with (run / "metrics.jsonl").open("a") as metrics:
            metrics.write(
                json.dumps(
                    {"step": step, "start": given.start, "loss": 1 / step, "tokens_per_s": 1000.0, "time_s": step}
                )
                + "\n"
            )
        if stopping or step == steps:
            save(step)
    if stopping and step < steps:
        sys.exit(75)
