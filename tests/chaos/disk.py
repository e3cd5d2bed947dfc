"""A separate disk that tests can fill and stall: an ext4 image on a loop device. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")
SIZE = 64 << 20


class Disk:
    """A mounted file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with self._ballast.open("ab", buffering=0) as stream:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        stream.write(bytes(size))

    def free(self) -> None:
        """Free the space again."""
        self._ballast.unlink()

    def stall(self) -> None:
        """Block all writes."""
        _run("fsfreeze", "-f", self.folder)

    def resume(self) -> None:
        """Unblock writes."""
        _run("fsfreeze", "-u", self.folder)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """Mount a new disk. Skip the test if no disk can be mounted."""
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in TOOLS):
        pytest.skip("needs root and " + ", ".join(TOOLS))
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    with image.open("wb") as stream:
        stream.truncate(SIZE)
    _run("mkfs.ext4", "-q", image)
    try:
        _run("mount", "-o", "loop", image, place)
    except subprocess.CalledProcessError:
        pytest.skip("no loop device can be mounted here")
    disk = Disk(place)
    try:
        yield disk
    finally:
        subprocess.run(["fsfreeze", "-u", place], check=False, capture_output=True)
        _run("umount", place)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
