"""A small training in two ranks for fault tests: its recipe, its processes and their output."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from configs.recipe import write_recipe
from configs.schema import Recipe
from pretrain.data.loader import Loader
from pretrain.data.training_data import open_data
from pretrain.telemetry.metrics_file import read_metrics
from tests.pretrain.synthetic import write_dataset
from tests.processes import started_with

ROOT = Path(__file__).parents[2]
ROWS, GLOBAL_BATCH_SIZE, EVERY_STEPS, LIMIT_S = 3_200, 4, 3, 10
STEPS = ROWS // GLOBAL_BATCH_SIZE  # one epoch
PATIENCE_S = 120

RECIPE: dict[str, Any] = {
    "data": {"max_seq_length": 32, "max_predictions_per_seq": 20, "vocabulary": {"size": 120}},
    "model": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
    "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
    "train": {
        "steps": STEPS,
        "global_batch_size": GLOBAL_BATCH_SIZE,
        "micro_batch_size": 1,
        "zero_stage": 2,
        "shuffle_window_rows": 256,
        "log_every_steps": 1,
    },
    "checkpoint": {"every_steps": EVERY_STEPS, "keep": 2},
    "cluster": {"device": "cpu", "ranks_per_node": 2, "cpu_threads": 1, "collective_timeout_s": LIMIT_S},
}


def loader_of(recipe: Recipe) -> Loader:
    """Return a loader of the recipe's rows for one rank."""
    data, train = open_data(recipe), recipe.train
    return Loader(
        data.mixed, data.weights, seed=train.seed, shuffle_window_rows=train.shuffle_window_rows,
        rank=0, world_size=1, micro_batch_size=train.micro_batch_size,
    )  # fmt: skip


def recipe_of(dataset: str, run: Path, **changes: dict[str, Any]) -> Recipe:
    """Return the small recipe with other settings, given by section."""
    tables = {"name": run.name or "run", "runs": str(run.parent), "data": RECIPE["data"] | {"dataset": dataset}}
    sections = {name: RECIPE[name] | values for name, values in changes.items()}
    return Recipe.model_validate(RECIPE | tables | sections)


class Zygote:
    """The process from which trainings are forked, and their data set. Leaving its context ends all processes."""

    def __init__(self, folder: Path) -> None:
        self.dataset, self.temporary = folder / "dataset", folder / "temporary"
        write_dataset(self.dataset, [[ROWS // 4] * 4], [8], vocabulary_size=120)
        self.temporary.mkdir()
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "caches")
        command = [sys.executable, "-m", "tests.chaos.zygote", str(self.dataset)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Zygote:
        assert self.answer() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        left = self.children()
        self._process.kill()
        for child in left:
            child.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()

    def answer(self) -> str:
        """Return the next line of its output."""
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def launch(self, run: Path) -> psutil.Process:
        """Start a run and return its launcher."""
        assert self._process.stdin
        self._process.stdin.write(f"{run}\n")
        self._process.stdin.flush()
        return psutil.Process(int(self.answer()))

    def children(self) -> list[psutil.Process]:
        """Return all its descendant processes, including orphans."""
        found = started_with(f"TMPDIR={self.temporary}")
        return [process for process in found if process.pid != self._process.pid]


class Training:
    """A run in a folder that is started repeatedly."""

    def __init__(self, zygote: Zygote, folder: Path, **changes: dict[str, Any]) -> None:
        self.run, self.logs, self.zygote = folder / "run", folder.parent / f"logs of {folder.name}", zygote
        for path in (self.run, self.logs):
            path.mkdir(parents=True)
        for rank in (0, 1):
            self._log(rank).touch()
        (self.run / "logs").symlink_to(self.logs)  # outside the run: not on a disk that a test fills
        self._launcher: psutil.Process | None = None
        self.starts = 0
        self.change(**changes)

    def change(self, **changes: dict[str, Any]) -> None:
        """Use the small recipe with these settings, given by section, from the next start on."""
        self.recipe = recipe_of(str(self.zygote.dataset), self.run, **changes)
        write_recipe(self.recipe, self.run / "recipe.toml")

    def start(self) -> None:
        """Run the same command again."""
        self.log_starts = [self._log(rank).stat().st_size for rank in (0, 1)]
        self._launcher = self.zygote.launch(self.run)
        self.starts += 1

    def ranks(self) -> list[psutil.Process]:
        """Return the rank processes, by rank."""
        assert self._launcher
        return sorted(self._launcher.children(), key=lambda process: int(process.pid))

    def end(self) -> int:
        """Wait for the end and return the exit code. Check that no started process is left."""
        code = int(self.zygote.answer())
        self._launcher = None
        assert self.zygote.children() == []
        return code

    def abandon(self) -> None:
        """Clean up after a failed test, because its processes would reply to the next test."""
        if self._launcher:
            self._launcher.kill()
            self.zygote.answer()

    def output(self, rank: int) -> str:
        """Return the output of a rank since the last start."""
        with self._log(rank).open("rb") as stream:
            stream.seek(self.log_starts[rank])
            return stream.read().decode(errors="replace")

    def verdict(self) -> str:
        """Return the last line of the launcher's output."""
        return (self.run / "launcher.log").read_text(errors="replace").splitlines()[-1]

    def step(self) -> int:
        """Return the last recorded step."""
        return int(max((record["step"] for record in read_metrics(self.run)), default=0))

    def wait_for(self, what: Callable[[], bool], pause_s: float = 0.005) -> None:
        """Wait until the condition is true. Fails if the training ends or the time limit passes before."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert self._launcher
            assert self._launcher.is_running(), self.output(0)
            assert self._launcher.status() != psutil.STATUS_ZOMBIE, self.output(0)
            assert time.monotonic() < deadline, self.output(0)
            time.sleep(pause_s)

    def wait_for_steps(self, count: int) -> None:
        """Wait until this start has done this number of steps."""
        self.wait_for(lambda: self.output(0).count("\nstep ") >= count)

    def partial(self) -> list[Path]:
        """Return the partial files of a running or interrupted save."""
        return list((self.run / "checkpoints").glob(".*"))

    def leftovers(self) -> list[Path]:
        """Return files that must not exist after the end."""
        return [*self.run.rglob(".*.partial"), *self.zygote.temporary.iterdir()]

    def _log(self, rank: int) -> Path:
        return self.logs / f"rank_{rank:05d}.log"
