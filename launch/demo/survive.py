"""The demo's second act: kill a rank of a run, resume it, change its world size, and compare with an undisturbed run.

    python -m launch.demo.survive RECIPE [--beside RUN]

trains RECIPE on the CPU as run `survive`: one of its ranks is ended by SIGKILL, the run is resumed, stopped on request,
and goes on with one rank instead of two. RUN trained the same recipe undisturbed on the CPU, so each step must show the
same rows, and at the same world size the same losses to the last bit. Without RUN, such a run is made first.
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
    """Play the act; raises `UserError` when the run does not come back as it should."""
    runs = Path(load_recipe(recipe).runs)
    run, beside = runs / RUN, beside or train_undisturbed(recipe, runs)
    announce(f"Training as run `{RUN}`; after step {KILL_AFTER} one of its ranks gets SIGKILL.")
    process = start_training(recipe, RUN)
    wait_for_step(run, KILL_AFTER, process)
    victim = ranks_of(process)[-1]
    victim.kill()
    announce(f"SIGKILL to rank process {victim.pid}; the launcher ended with code {process.wait(PATIENCE_S)}.")

    announce("The same command again: it resumes from the newest checkpoint.")
    stop_after(start_training(recipe, RUN), run, STOP_AFTER)
    resumed = compare(run, beside)
    announce(f"Steps 1 to {resumed.steps} beside the undisturbed run: {resumed.equal_rows} take the same rows,")
    announce(f"{resumed.equal_losses} have the same losses to the last bit.")
    expect(resumed.equal_losses == resumed.equal_rows == resumed.steps, "the resumed run differs")

    announce("Now with one rank instead of two, from the same checkpoint.")
    stop_after(start_training(recipe, RUN, "cluster.ranks_per_node=1"), run, END_AFTER)
    smaller = compare(run, beside)
    announce(f"Steps 1 to {smaller.steps}: {smaller.equal_rows} take the same rows as with two ranks;")
    announce(f"the largest difference of a loss is {smaller.largest_difference:.4f}.")
    expect(smaller.equal_rows == smaller.steps, "one rank took other rows than two")


class Comparison:
    """Two runs side by side, over the steps that both have recorded."""

    def __init__(self, mine: list[dict[str, float]], other: list[dict[str, float]]) -> None:
        pairs = list(zip(mine, other, strict=False))
        self.steps = len(pairs)
        self.equal_rows = sum(a["rows"] == b["rows"] for a, b in pairs)
        self.equal_losses = sum(a["loss"] == b["loss"] for a, b in pairs)
        self.largest_difference = max(abs(a["loss"] - b["loss"]) for a, b in pairs)


def train_undisturbed(recipe: str, runs: Path) -> Path:
    """The run to compare with, as far as it is needed."""
    announce(f"First an undisturbed run, `{UNDISTURBED}`, to compare with.")
    stop_after(start_training(recipe, UNDISTURBED), runs / UNDISTURBED, END_AFTER)
    return runs / UNDISTURBED


def start_training(recipe: str, name: str, *overrides: str) -> subprocess.Popen[bytes]:
    """`bertrain train` on the CPU, as a process of its own."""
    arguments = ["train", recipe, f"name={name}", "cluster.device=cpu", "train.log_every_steps=5", *overrides]
    return subprocess.Popen([sys.executable, "-P", "-m", "launch.cli", *arguments])


def ranks_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The rank processes of a launcher, in the order of their start."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "pretrain" in child.cmdline()]


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the run has recorded `step`; `UserError` when it ends or takes too long before."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(record["step"] >= step for record in read_metrics(run)):
        expect(process.poll() is None, f"the run ended before step {step}")
        expect(time.monotonic() < deadline, f"the run did not reach step {step} in {PATIENCE_S} s")
        time.sleep(0.1)


def stop_after(process: subprocess.Popen[bytes], run: Path, step: int) -> None:
    """Ask the run to stop after `step`, and wait until it has saved a checkpoint and gone."""
    wait_for_step(run, step, process)
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    expect(code == STOPPED, f"the run ended with code {code}, not {STOPPED}")


def compare(run: Path, beside: Path) -> Comparison:
    """The two runs' records, step by step."""
    return Comparison(read_metrics(run), read_metrics(beside))


def expect(condition: bool, otherwise: str) -> None:
    """The act fails in plain words."""
    if not condition:
        raise UserError(otherwise, place=RUN, fix=f"see the logs in runs/{RUN}/logs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m launch.demo.survive", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--beside", type=Path, help="an undisturbed run of the same recipe on the CPU")
    given = parser.parse_args()
    try:
        survive(given.recipe, given.beside)
    except UserError as failure:
        sys.exit(f"error: {failure}")
