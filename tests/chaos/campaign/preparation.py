"""A real preparation, killed, stopped or damaged, and run again: its data set has the bytes of an undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from configs.recipe import write_recipe
from configs.schema import DataConfig, Recipe
from tests.chaos.campaign.family import Family, Strike
from tests.chaos.damage import damaged
from tests.integration.small import command, environment
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

PATIENCE_S = 300


class Preparation(Family):
    """Each fault strikes a preparation of the same text into a folder of its own."""

    def __init__(self, folder: Path, faults: int) -> None:
        super().__init__(folder, faults)
        self.text = write_text(folder / "text/corpus.txt", make_documents(150, seed=faults))
        self._prepare(folder / "undisturbed")
        self.expected = digests(folder / "undisturbed/dataset")

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {
            "the command is killed": self._kill,
            "a worker is killed": self._kill_worker,
            "a stop": self._stop,
            "a finished part is damaged": self._damage,
            "two at once": self._two,
        }

    def _kill(self, draw: random.Random, folder: Path) -> None:
        process = self._start(folder, draw)
        process.kill()
        process.wait()
        self._check(folder)

    def _kill_worker(self, draw: random.Random, folder: Path) -> None:
        process = self._start(folder, draw)
        with suppress(psutil.NoSuchProcess, IndexError):
            draw.choice(psutil.Process(process.pid).children(recursive=True)).kill()
        process.wait(PATIENCE_S)
        self._check(folder)

    def _stop(self, draw: random.Random, folder: Path) -> None:
        process = self._start(folder, draw)
        process.send_signal(draw.choice((signal.SIGTERM, signal.SIGINT)))
        code = process.wait(PATIENCE_S)
        assert code in (0, 75, 130, 143, -signal.SIGTERM, -signal.SIGINT), code
        self._check(folder)

    def _damage(self, draw: random.Random, folder: Path) -> None:
        process = self._start(folder, draw)
        process.kill()
        process.wait()
        parts = [path for path in sorted((folder / "dataset").rglob("*")) if path.is_file() and path.stat().st_size]
        if parts:
            part = draw.choice(parts)
            part.write_bytes(damaged(part.read_bytes(), draw)[1])
        self._check(folder)

    def _two(self, draw: random.Random, folder: Path) -> None:
        first = self._start(folder, draw)
        second = subprocess.run(self._argv(folder), capture_output=True, env=environment(), check=False)
        assert second.returncode in (0, 2), second.stderr.decode()
        assert first.wait(PATIENCE_S) in (0, 2)
        self._check(folder)

    def _start(self, folder: Path, draw: random.Random) -> subprocess.Popen[bytes]:
        """Start a preparation, and wait for a moment drawn at random: its start, its first part, or later."""
        with (folder / "output").open("ab") as output:
            argv, env = self._argv(folder), environment()
            process = subprocess.Popen(argv, env=env, stdout=output, stderr=output)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        deadline = time.monotonic() + PATIENCE_S
        while not (folder / "dataset").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 3))
        return process

    def _check(self, folder: Path) -> None:
        self._prepare(folder)
        assert digests(folder / "dataset") == self.expected
        assert b"Traceback" not in (folder / "output").read_bytes()

    def _prepare(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        done = subprocess.run(self._argv(folder), env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _argv(self, folder: Path) -> list[str]:
        data: DataConfig = small_config(folder / "dataset", self.text, workers=2)
        write_recipe(Recipe(name="prepared", data=data), folder / "recipe.toml")
        return [*command("prepare", str(folder / "recipe.toml"))]
