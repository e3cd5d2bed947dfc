"""Atomic writes and digests of local files.

A file that matters is written to a temporary name beside its place, synced, renamed, and its folder synced: a reader
sees the old file or the new one, whole, whatever happens in between.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from configs.errors import UserError

TEMPORARY_SUFFIX = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing; it appears, whole and synced, when the block ends, and not at all when it raises."""
    # Random: process numbers of two nodes that share the folder may be equal.
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
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as stream:
        stream.write(text.encode())


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; it appears as `folder`, whole and synced, when the block ends.

    When the block raises it does not, and nothing is left. Raises `UserError` when there is something of that name
    already, or it cannot be written.
    """
    folder = folder.absolute()
    if folder.exists():
        raise UserError("there is something of this name", place=str(folder), fix="choose another name, or remove it")
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


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turn a read-only, full or forbidden output folder into a `UserError` that says so."""
    fixes = {
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EACCES: "no permission to write there: choose another folder or change its permissions",
        errno.EPERM: "no permission to write there: choose another folder or change its permissions",
        errno.ENOSPC: "the disk is full: free some space and run the same command again",
        errno.EDQUOT: "your quota is used up: free some space and run the same command again",
        errno.ENOTDIR: "a part of this path is a file: choose another folder",
        errno.ENOENT: "no folder can be made there: choose another folder",
        errno.EEXIST: "there is a file of this name: choose another folder",
        errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    }
    try:
        yield
    except OSError as error:
        if error.errno in fixes:
            raise UserError("cannot write", place=str(folder), fix=fixes[error.errno]) from error
        raise
