"""Atomic writes and digests of local files.

An important file is written under a temporary name in the same folder, synced, and renamed; then the folder is synced.
A reader always sees either the complete old file or the complete new one, even after a crash.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from configs.errors import UserError

TEMPORARY_SUFFIX = ".partial"
# The most bytes of a file that is read at once. A longer one is damaged, and can be sparse and larger than the memory.
MOST_BYTES = 16 << 20  # of a record: the state of a checkpoint by 16,000 ranks has 3 MB
MOST_MODEL_BYTES = 256 << 20  # of a vocabulary and of a model's JSON files: large tokenizer.json files have 40 MB
MOST_WHOLE_BYTES = 4 << 30  # of anything else: the manifest of 8 million shards has 3 GB


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing. The file appears, complete and synced, when the block ends, but not if it raises."""
    # A random name: two nodes that share the folder can have equal process IDs.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 atomically."""
    with atomic_write(path) as stream:
        stream.write(text.encode())


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill. It appears as `folder`, complete and synced, when the block ends.

    If the block raises, nothing is left behind. Raises `UserError` if `folder` already exists or cannot be written.
    """
    folder = folder.absolute()
    if folder.exists():
        raise UserError("already exists", place=str(folder), fix="choose another name, or remove it")
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    with explain_write_errors(folder):
        partial.mkdir(parents=True)
        try:
            yield partial
            _sync_tree(partial)
            os.replace(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(folder.parent)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_default_mode(path: Path) -> None:
    """Give a file that a library created for its owner only the mode of a file that this process creates itself."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # os.umask can only read the umask by changing it
    umask = next(int(line.split()[1], 8) for line in status.splitlines() if line.startswith("Umask:"))
    path.chmod(0o666 & ~umask)


def not_through_links(path: str, flags: int) -> int:
    """Open a file that this process creates or changes, as `opener` of `open`. Raises `OSError` if it is a link.

    Another user can have planted the link, to have a file of this user changed.
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `OSError` also for a pipe or a device, which can block, or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without it, a pipe is opened when it has a writer
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(mode) else "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of a file. Raises `OSError` if it is longer or no regular file, without reading it."""
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, too_large(most_bytes), str(path))
        return stream.read()


def too_large(most_bytes: int) -> str:
    """Return the cause why a file of more than `most_bytes` is not read."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if most_bytes >= unit:
            return f"larger than {most_bytes // unit} {name}, the limit for such a file"
    return f"larger than {most_bytes} bytes, the limit for such a file"


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turn the `OSError` of a read-only, full or forbidden output folder into a `UserError`."""
    fixes = {
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EACCES: "no permission to write there: choose another folder or change its permissions",
        errno.EPERM: "no permission to write there: choose another folder or change its permissions",
        errno.ENOSPC: "the disk is full: free some space and run the same command again",
        errno.EDQUOT: "your quota is used up: free some space and run the same command again",
        errno.EFBIG: "the file would exceed the limit on file sizes: raise it (`ulimit -f`) or use another file system",
        errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`) or lower data.workers",
        errno.EIO: "the disk or the network file system reports an error: check it, or choose another folder",
        errno.ESTALE: "the network file system lost the folder: run the same command again",
        errno.ENOTDIR: "a part of this path is a file: choose another folder",
        errno.ELOOP: "a link is in the way: remove it",
        errno.ENOENT: "the folder cannot be created: choose another folder",
        errno.EEXIST: "a file with this name exists: choose another folder",
        errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    }
    try:
        yield
    except OSError as error:
        if error.errno in fixes:
            is_link = error.errno == errno.ELOOP and error.filename
            place = os.fsdecode(error.filename) if is_link else str(folder)
            raise UserError("cannot write", place=place, fix=fixes[error.errno]) from error
        raise
