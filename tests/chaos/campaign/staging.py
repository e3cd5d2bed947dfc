"""Staging to a node's disk, by several processes at once: damaged files, planted links, full disks, kills."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import UserError
from pretrain.data import staging
from pretrain.data.staging import StagingArea, StoredFile
from tests.chaos.campaign.family import Family, Strike
from tests.chaos.damage import flip_bit, truncate

SHARDS, BYTES = 6, 200_000
DONE, REFUSED, WRONG = 0, 2, 3
NOBODY = 65_534


class Staging(Family):
    """Each fault has a store and a staging folder of its own. What is handed out is right, or it is refused."""

    missing = "" if os.geteuid() == 0 and shutil.which("mount") else "root"

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {
            "killed while copying": self._kill,
            "a staged shard is damaged": self._damage_copy,
            "a stored shard is damaged": self._damage_source,
            "a planted link": self._planted_link,
            "another user's folder": self._other_user,
            "a full disk": self._full_disk,
            "too little room": self._small_limit,
        }

    def _kill(self, draw: random.Random, folder: Path) -> None:
        files = store(folder, draw)
        children = [start(folder / "node", files, draw.randrange(2**32)) for _ in range(3)]
        time.sleep(draw.uniform(0, 0.03))
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
        assert [wait(child) for child in children[1:]] == [DONE, DONE]
        assert wait(start(folder / "node", files, 0)) == DONE

    def _damage_copy(self, draw: random.Random, folder: Path) -> None:
        files = store(folder, draw)
        assert wait(start(folder / "node", files, 0)) == DONE
        copy = next((folder / "node").glob(f"bertrain-*/{draw.choice(files).sha256}"))
        copy.write_bytes(draw.choice((flip_bit, truncate))(copy.read_bytes(), draw))
        assert wait(start(folder / "node", files, 0)) == DONE

    def _damage_source(self, draw: random.Random, folder: Path) -> None:
        files = store(folder, draw)
        source = Path(draw.choice(files).place)
        source.write_bytes(draw.choice((flip_bit, truncate))(source.read_bytes(), draw))
        assert wait(start(folder / "node", files, draw.randrange(2**32))) == REFUSED

    def _planted_link(self, draw: random.Random, folder: Path) -> None:
        files, victim = store(folder, draw), folder / "victim"
        victim.mkdir()
        names = (files[0].sha256, f"{files[1].sha256}.0badc0de.partial", "notes")
        for name in names:
            (victim / name).write_bytes(b"mine")
        (folder / "node").mkdir()
        (folder / f"node/bertrain-{os.getuid()}").symlink_to(victim)
        assert wait(start(folder / "node", files, 0)) == REFUSED
        assert {path.name: path.read_bytes() for path in victim.iterdir()} == dict.fromkeys(names, b"mine")

    def _other_user(self, draw: random.Random, folder: Path) -> None:
        files, planted = store(folder, draw), folder / f"node/bertrain-{os.getuid()}"
        planted.mkdir(parents=True)
        shutil.copyfile(files[0].place, planted / files[1].sha256)  # other rows under a shard's name
        os.chown(planted, NOBODY, NOBODY)
        assert wait(start(folder / "node", files, 0)) == REFUSED
        assert [path.name for path in planted.iterdir()] == [files[1].sha256]

    def _full_disk(self, draw: random.Random, folder: Path) -> None:
        files = store(folder, draw)
        with small_disk(folder / "node", f"size={draw.randint(100, 900)}k"):
            assert wait(start(folder / "node", files, draw.randrange(2**32))) == REFUSED

    def _small_limit(self, draw: random.Random, folder: Path) -> None:
        files = store(folder, draw)
        shards = draw.randint(1, 4)
        children = [start(folder / "node", files, draw.randrange(2**32), shards * BYTES) for _ in range(2)]
        assert [wait(child) for child in children] == [DONE, DONE]
        kept = [path for path in (folder / "node").rglob("*") if path.is_file() and path.stat().st_size == BYTES]
        assert len(kept) <= shards + 1  # a shard that the other process still copies cannot be removed


def store(folder: Path, draw: random.Random) -> list[StoredFile]:
    """Write shards to a folder."""
    files = []
    (folder / "store").mkdir()
    for number in range(SHARDS):
        content = draw.randbytes(BYTES)
        place = folder / "store" / f"{number}.arrow"
        place.write_bytes(content)
        files.append(StoredFile(str(place), BYTES, hashlib.sha256(content).hexdigest()))
    return files


def start(node: Path, files: list[StoredFile], seed: int, limit: int = 1 << 30) -> int:
    """Fork a process that reads all files through the staging area, in an order of its own."""
    pid = os.fork()
    if pid:
        return pid
    code = WRONG
    with suppress(BaseException):
        staging.FIRST_PAUSE_S = 0.001
        code = _read(StagingArea(node, limit), random.Random(seed).sample(files, len(files)))
    os._exit(code)


def _read(area: StagingArea, files: list[StoredFile]) -> int:
    try:
        for file in files:
            with suppress(FileNotFoundError):  # another process made room
                if hashlib.sha256(area.path(file).read_bytes()).hexdigest() != file.sha256:
                    return WRONG
    except UserError:
        return REFUSED
    return DONE


def wait(pid: int) -> int:
    """Return the exit code of a forked process."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory with these options."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
