"""Ranks under torchrun, with a stand-in for the model."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from configs.recipe import load_recipe, write_recipe
from launch.ranks import newest_step
from tests.chaos.campaign.family import Family, Strike, assert_one_history
from tests.chaos.campaign.mpi import PATIENCE_S, STEP_S, STEPS, records_of
from tests.distributed.test_mpi import STAND_IN
from tests.integration.small import environment
from tests.pretrain.synthetic import write_dataset
from tests.processes import wait_until

TORCHRUN = (sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python")


class Torchrun(Family):
    """Each fault has a run of its own; torchrun is started again until the run has all its steps."""

    def __init__(self, folder: Path, faults: int) -> None:
        super().__init__(folder, faults)
        write_dataset(folder / "dataset", [[40] * 2], [8], vocabulary_size=120)

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {
            "a rank is killed": self._kill_rank,
            "the agent is killed": self._kill_agent,
            "the agent gets SIGTERM": self._terminate,
            "the agent restarts the ranks": self._restart,
        }

    def _kill_rank(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        draw.choice(ranks_of(process)).kill()
        assert process.wait(PATIENCE_S) == 1
        self._resume(run)

    def _kill_agent(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        ranks = ranks_of(process)
        process.kill()
        _, alive = psutil.wait_procs(ranks, timeout=60)
        assert alive == []
        self._resume(run)

    def _terminate(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) != 0
        assert newest_step(run) > 0
        self._resume(run)

    def _restart(self, draw: random.Random, folder: Path) -> None:
        run = self._make_run(folder)
        (run / "fault").write_text(f"{draw.randint(1, STEPS - 1)} {draw.randint(0, 1)} kill")
        assert self._start(run, "--max-restarts=1").wait(PATIENCE_S) == 0
        assert_one_history(records_of(run), STEPS)

    def _running(self, draw: random.Random, folder: Path) -> tuple[Path, subprocess.Popen[bytes]]:
        run, step = self._make_run(folder), draw.randint(1, STEPS // 2)
        process = self._start(run)
        wait_until(lambda: step in [number for _, number in records_of(run)], PATIENCE_S, f"step {step}")
        return run, process

    def _make_run(self, folder: Path) -> Path:
        settings = (f"runs={json.dumps(str(folder))}", f"data.dataset={json.dumps(str(self.folder / 'dataset'))}")
        recipe = load_recipe("demo", [*settings, "name=run", "cluster.device=cpu"])
        write_recipe(recipe, folder / "recipe.toml")
        run = folder / "run"
        run.mkdir()
        write_recipe(recipe, run / "recipe.toml")
        (run / "stand_in.json").write_text(json.dumps([STEPS, STEP_S]))
        return run

    def _resume(self, run: Path) -> None:
        assert self._start(run).wait(PATIENCE_S) == 0
        assert_one_history(records_of(run), STEPS)

    def _start(self, run: Path, *options: str) -> subprocess.Popen[bytes]:
        bertrain = str(Path(sys.executable).with_name("bertrain"))
        argv = [*TORCHRUN[:-1], *options, TORCHRUN[-1], bertrain, "train", str(run.parent / "recipe.toml")]
        env = environment() | {"PYTHONPATH": os.pathsep.join((str(STAND_IN), *sys.path[:1])), "OMP_NUM_THREADS": "1"}
        with (run.parent / "output").open("ab") as output:
            process = subprocess.Popen(argv, env=env, stdout=output, stderr=output)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process


def ranks_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the rank processes of an agent."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [one for one in found if "pretrain" in one.cmdline()]
