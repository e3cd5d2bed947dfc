"""What the families have in common, and the bystanders that no fault may touch."""

from __future__ import annotations

import random
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self

import psutil

Strike = Callable[[random.Random, Path], None]


class Family(ABC):
    """A block of faults of one family, in a folder of its own. Leaving its context ends all its processes.

    A fault that breaks a promise raises `AssertionError`.
    """

    missing: ClassVar[str] = ""  # what this machine lacks for the family

    def __init__(self, folder: Path, faults: int) -> None:
        self.folder, self.faults, self.stack = folder, faults, ExitStack()
        folder.mkdir()

    @property
    @abstractmethod
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name; each makes one fault in a folder of its own and checks what came of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def finish(self) -> int:
        """Check the block as a whole; return the number of rows that were trained once, as checked."""
        return 0


class Bystanders:
    """A process and files that belong to nobody in the campaign. `check` raises `AssertionError` if one is harmed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._files = {folder / name: name.encode() * 9 for name in ("a" * 64, "a" * 64 + ".checked", "notes.partial")}
        for file, content in self._files.items():
            file.write_bytes(content)
        self._process = subprocess.Popen(["sleep", "infinity"], start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Compare the files, and look for the process."""
        assert {file: file.read_bytes() for file in self._files} == self._files
        assert psutil.Process(self._process.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED)


def assert_one_history(records: list[tuple[int, int]], steps: int) -> None:
    """Records (start, step): later starts follow earlier ones, no step is left out, and the last is there."""
    numbers = [number for number, _ in records]
    assert numbers == sorted(numbers), numbers
    assert {step for _, step in records} == set(range(1, steps + 1)), records
    for number in set(numbers):
        mine = [step for of, step in records if of == number]
        assert mine == list(range(mine[0], mine[0] + len(mine))), records
