"""The demo's second act: kill a rank of a run, resume it, change its world size, and compare with an undisturbed run.

    python -m launch.demo.survive RECIPE [--beside RUN]

Trains RECIPE on the CPU as run `survive`. Kills one of its ranks with SIGKILL, resumes the run, stops it with SIGTERM,
and resumes it with one rank instead of two. RUN trained the same recipe on the CPU without interruption. Each step of
both runs must use the same rows and, at the same world size, have the same loss to the last bit. Without RUN, the act
trains that run first.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from configs.errors import UserError
from configs.exit_codes import STOPPED
from configs.recipe import load_recipe
from launch.demo.story import announce
from pretrain.telemetry import read_metrics

RUN, UNDISTURBED = "survive", "undisturbed"
KILL_AFTER, STOP_AFTER, END_AFTER = 35, 55, 75  # steps
PATIENCE_S = 180


def survive(recipe: str, beside: Path | None) -> None:
    """Run the act. Raise `UserError` if the run does not resume correctly."""
    runs = Path(load_recipe(recipe).runs)
    run, beside = runs / RUN, beside or train_undisturbed(recipe, runs)
    announce(f"Training as run `{RUN}`. After step {KILL_AFTER}, one of its ranks is killed with SIGKILL.")
    process = start_training(recipe, RUN)
    wait_for_step(run, KILL_AFTER, process)
    victim = ranks_of(process)[-1]
    victim.kill()
    announce(f"Killed rank process {victim.pid}. The launcher exited with code {process.wait(PATIENCE_S)}.")

    announce("Running the same command again. It resumes from the newest checkpoint.")
    stop_after(start_training(recipe, RUN), run, STOP_AFTER)
    resumed = compare(run, beside)
    announce(f"Of steps 1 to {resumed.steps}, {resumed.equal_rows} use the same rows as in the undisturbed run,")
    announce(f"and {resumed.equal_losses} have the same loss to the last bit.")
    expect(resumed.equal_losses == resumed.equal_rows == resumed.steps, "the resumed run differs")

    announce("Resuming from the same checkpoint with one rank instead of two.")
    stop_after(start_training(recipe, RUN, "cluster.ranks_per_node=1"), run, END_AFTER)
    smaller = compare(run, beside)
    announce(f"Of steps 1 to {smaller.steps}, {smaller.equal_rows} use the same rows as with two ranks.")
    announce(f"The largest difference between losses is {smaller.largest_difference:.4f}.")
    expect(smaller.equal_rows == smaller.steps, "one rank used other rows than two ranks")


class Comparison:
    """Compare two runs over the steps that both have recorded."""

    def __init__(self, mine: list[dict[str, float]], other: list[dict[str, float]]) -> None:
        pairs = list(zip(mine, other, strict=False))
        self.steps = len(pairs)
        self.equal_rows = sum(a["rows"] == b["rows"] for a, b in pairs)
        self.equal_losses = sum(a["loss"] == b["loss"] for a, b in pairs)
        self.largest_difference = max(abs(a["loss"] - b["loss"]) for a, b in pairs)


def train_undisturbed(recipe: str, runs: Path) -> Path:
    """Train the run to compare with, up to the last step that the comparison needs."""
    announce(f"Training the undisturbed run `{UNDISTURBED}` to compare with.")
    stop_after(start_training(recipe, UNDISTURBED), runs / UNDISTURBED, END_AFTER)
    return runs / UNDISTURBED


def start_training(recipe: str, name: str, *overrides: str) -> subprocess.Popen[bytes]:
    """Start `bertrain train` on the CPU."""
    arguments = ["train", recipe, f"name={name}", "cluster.device=cpu", "train.log_every_steps=5", *overrides]
    return subprocess.Popen([sys.executable, "-P", "-m", "launch.cli", *arguments])


def ranks_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the rank processes of a launcher, in start order."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "pretrain" in child.cmdline()]


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has recorded `step`. Raise `UserError` if it ends or times out before."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(record["step"] >= step for record in read_metrics(run)):
        expect(process.poll() is None, f"the run ended before step {step}")
        expect(time.monotonic() < deadline, f"the run did not reach step {step} in {PATIENCE_S} s")
        time.sleep(0.1)


def stop_after(process: subprocess.Popen[bytes], run: Path, step: int) -> None:
    """Send SIGTERM after `step`, and wait until the run has saved a checkpoint and exited."""
    wait_for_step(run, step, process)
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    expect(code == STOPPED, f"the run ended with code {code}, not {STOPPED}")


def compare(run: Path, beside: Path) -> Comparison:
    """Compare the metrics of the two runs."""
    return Comparison(read_metrics(run), read_metrics(beside))


def expect(condition: bool, failure: str) -> None:
    """Raise `UserError` with `failure` unless the condition holds."""
    if not condition:
        raise UserError(failure, place=RUN, fix=f"see the logs in runs/{RUN}/logs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m launch.demo.survive", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--beside", type=Path, help="an undisturbed run of the same recipe on the CPU")
    given = parser.parse_args()
    try:
        survive(given.recipe, given.beside)
    except UserError as failure:
        sys.exit(f"error: {failure}")
