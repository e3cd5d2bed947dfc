"""Copy shards from a shared file system or an object store to a node's local disk before they are read.

    FOLDER/<sha256>             a complete shard with that digest: it was renamed into place
    FOLDER/<sha256>.checked     the shard's size and modification time when its digest was verified
    FOLDER/<sha256>.*.partial   a shard being copied, allocated at its final size so that it counts toward the limit
    FOLDER/locks/               locks that processes of the node hold while they copy

All ranks of a node, and all runs of one user on it, share the folder: a shard that one process has copied and checked
is only opened by the others. The least recently used shards are removed to make room for new ones. A file that has
changed since it was checked is checked again, and copied again if it is damaged.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX, explain_write_errors, sha256_of_file
from configs.machine import lock, make_private
from configs.units import GIB
from preprocessing.storage import StoreError, open_file

CHECKED_SUFFIX = ".checked"
SHARD_NAME = re.compile(r"[0-9a-f]{64}((\.[0-9a-f]{8})?\.partial)?")
LOCKS, SPACE = "locks", "space"
ATTEMPTS = 6
FIRST_PAUSE_S = 1.0  # before the second attempt; each pause is twice as long as the previous one
CHUNK_BYTES = 8 << 20
FETCHERS = 4  # files that a rank copies ahead concurrently
SLOW_S = 10.0  # a longer wait for a file is logged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFile:
    """The location (path or URL), size and digest of a file."""

    place: str
    bytes: int
    sha256: str


class StagingArea:
    """This user's shard copies on this node's disk, in a subfolder of `folder`, at most `most_bytes` in total."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder / f"bertrain-{os.getuid()}"
        self.most_bytes = most_bytes
        self._expected: set[StoredFile] = set()
        self._queue: queue.SimpleQueue[StoredFile] = queue.SimpleQueue()
        self._fetchers: list[threading.Thread] = []

    def path(self, file: StoredFile) -> Path:
        """Return the path of the file's verified copy, and copy the file first if necessary.

        A failed read is retried after growing pauses. Raises `UserError` if all attempts fail, if the digest does not
        match, or if the size limit is too small for the file.
        """
        self._make_folder()
        copy, began = self.folder / file.sha256, time.monotonic()
        with self._locked(file.sha256[:2]):
            if not _is_whole(copy, file):
                self._fetch(file, copy)
        if time.monotonic() - began > SLOW_S:
            log.warning("waited %.0f s for %s", time.monotonic() - began, file.place)
        return copy

    def expect(self, now: Sequence[StoredFile], later: Sequence[StoredFile]) -> None:
        """Copy files in the background: those that are read `now` first, then those that the size limit allows.

        Raises `UserError` if the files that are read now exceed the limit.
        """
        needed = sum(file.bytes for file in now)
        if needed > self.most_bytes:
            cause = (
                f"{self.most_bytes / GIB:.3g} GiB do not hold {needed / GIB:.3g} GiB of shards, which one window needs"
            )
            raise UserError(cause, place="train.stage_gib", fix="raise it, or lower train.shuffle_window_rows")
        expected, total = [], 0
        for file in dict.fromkeys((*now, *later)):
            total += file.bytes
            if total <= self.most_bytes:
                expected.append(file)
        for file in expected:
            if file not in self._expected:
                self._queue.put(file)
        self._expected = set(expected)
        while len(self._fetchers) < min(FETCHERS, self._queue.qsize()):
            # Daemon threads: a rank that ends does not wait for files that it will not read.
            self._fetchers.append(threading.Thread(target=self._fetch_expected, name="stage", daemon=True))
            self._fetchers[-1].start()

    def _make_folder(self) -> None:
        with explain_write_errors(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            make_private(self.folder)  # its owner could inject training rows, and a link could lead anywhere
        except UserError as error:
            raise UserError(error.cause, place=error.place, fix="set train.stage_in to a folder of yours") from error
        with explain_write_errors(self.folder):
            (self.folder / LOCKS).mkdir(exist_ok=True)

    def _fetch_expected(self) -> None:
        while True:
            file = self._queue.get()
            try:
                self.path(file)
            except UserError as error:  # raised again at the step that needs the file
                log.warning("%s", error)

    def _fetch(self, file: StoredFile, copy: Path) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            fault = self._try_to_fetch(file, copy)
            if fault is None:
                return
            log.warning("cannot read %s, attempt %d of %d: %s", file.place, attempt, ATTEMPTS, fault)
            if attempt < ATTEMPTS:
                time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        raise UserError(
            f"cannot read the file: {fault}", place=file.place, fix="check the store, or copy the file to it again"
        )

    def _try_to_fetch(self, file: StoredFile, copy: Path) -> str | None:
        """Copy the file; return the cause of a failure that may be temporary, or None."""
        partial = copy.with_suffix(f".{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")  # locks can be missing
        try:
            self._make_room(file, partial)
            if _copy(file.place, partial) != file.sha256:
                return "its SHA-256 is not the manifest's"
            with self._locked(SPACE):  # whoever makes room sees the shard under one of its two names
                os.replace(partial, copy)
                _mark_checked(copy)
        except FileNotFoundError as error:
            raise UserError("the file is missing", place=file.place, fix="restore it") from error
        except (StoreError, OSError) as error:
            fault = error.__cause__ or error
            return f"{type(fault).__name__}: {fault}"
        finally:
            partial.unlink(missing_ok=True)
        return None

    def _make_room(self, file: StoredFile, partial: Path) -> None:
        """Reserve space for the file; remove the least recently used shards if necessary."""
        if file.bytes > self.most_bytes:
            cause = f"{self.most_bytes / GIB:.3g} GiB do not hold a shard of {file.bytes / GIB:.3g} GiB"
            raise UserError(cause, place="train.stage_gib", fix="raise it")
        with self._locked(SPACE), explain_write_errors(self.folder):
            kept = self._kept()
            excess = sum(state.st_size for state in kept.values()) + file.bytes - self.most_bytes
            for path, state in sorted(kept.items(), key=lambda item: item[1].st_atime_ns):
                if excess > 0 and path.suffix != TEMPORARY_SUFFIX:
                    excess -= state.st_size
                    path.unlink(missing_ok=True)  # a rank that has mapped it keeps its pages
                    path.with_suffix(CHECKED_SUFFIX).unlink(missing_ok=True)
            with partial.open("wb") as stream:
                stream.truncate(file.bytes)

    def _kept(self) -> dict[Path, os.stat_result]:
        """Return the shards here, including those being copied. Partial copies of killed processes are removed.

        Files whose names are not ours are no shards, and are left alone.
        """
        found = {}
        for path in self.folder.iterdir():
            if SHARD_NAME.fullmatch(path.name) and path.is_file():
                with suppress(FileNotFoundError):  # another process has given up a copy, or completed it without locks
                    found[path] = path.stat()
        return {
            path: state
            for path, state in found.items()
            if path.suffix != TEMPORARY_SUFFIX or not self._is_abandoned(path)
        }

    def _is_abandoned(self, partial: Path) -> bool:
        with (self.folder / LOCKS / partial.name[:2]).open("w") as stream:
            try:
                if not lock(stream):
                    return False  # without locks, it cannot be seen whether a process still copies it
            except BlockingIOError:
                return False
            partial.unlink(missing_ok=True)
            return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold an exclusive lock on this node. The kernel releases it when the process ends for any reason.

        Without locks, ranks can copy the same shard twice, each under a name of its own.
        """
        with (self.folder / LOCKS / name).open("w") as stream:
            lock(stream, wait=True)
            yield


def _copy(place: str, partial: Path) -> str:
    """Copy a file durably and return the digest of its contents."""
    digest = hashlib.sha256()
    with open_file(place) as source, partial.open("r+b") as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            with explain_write_errors(partial.parent):
                target.write(chunk)
        with explain_write_errors(partial.parent):
            target.flush()
            os.fsync(target.fileno())
    return digest.hexdigest()


def _is_whole(copy: Path, file: StoredFile) -> bool:
    """Return whether a valid copy exists, and mark it as used. It is hashed only if it may have changed."""
    try:
        return _is_valid(copy, file)
    except FileNotFoundError:  # another rank has removed it meanwhile, to make room
        return False


def _is_valid(copy: Path, file: StoredFile) -> bool:
    if not copy.is_file() or copy.stat().st_size != file.bytes:
        return False
    checked = copy.with_suffix(CHECKED_SUFFIX)
    if not checked.is_file() or checked.read_text() != _state_of(copy):
        if sha256_of_file(copy) != file.sha256:
            log.warning("%s is damaged: it is copied again from %s", copy, file.place)
            return False
        _mark_checked(copy)
    os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
    return True


def _mark_checked(copy: Path) -> None:
    copy.with_suffix(CHECKED_SUFFIX).write_text(_state_of(copy))


def _state_of(copy: Path) -> str:
    found = copy.stat()
    return f"{found.st_size} {found.st_mtime_ns}"
