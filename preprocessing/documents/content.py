"""The content of the input files: their digests, and a check that no file changes while it is read.

The digest of a file is the SHA-256 of the SHA-256 digests (32 bytes each) of its pieces of 64 MiB. So several threads,
or several machines, can hash one file. A file's size and time of modification, or its etag in an object store, tell
cheaply whether its digest is still right.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, SourceFile, open_stored
from preprocessing.documents.progress import StoppedError
from preprocessing.storage import FileState, file_state, is_url

PIECE_BYTES = 1 << 26
_READ_BYTES = 1 << 20
_THREADS = 8  # hashing and reading release the interpreter's lock
_STAT_THREADS = 32  # for files at URLs
_POLL_INTERVAL_S = 0.2


@dataclass(frozen=True)
class FileContent:
    """A file's digest, and the state of the file that has this digest."""

    state: FileState
    sha256: str  # of the digests of its pieces


@dataclass(frozen=True)
class Piece:
    """Piece `number` of a file, counted from 0, and its size in bytes."""

    path: str
    number: int
    size: int


def states_of(files: Sequence[SourceFile]) -> dict[str, FileState]:
    """Return the state of each file by its path. Raises `UserError` if a file changed since it was listed."""
    paths = list(dict.fromkeys(file.path for file in files))
    with _threads(_STAT_THREADS) as pool:
        if any(map(is_url, paths)):
            found = [pool.submit(_state, path) for path in paths]
            states = dict(zip(paths, map(_result, found), strict=True))
        else:
            states = dict(zip(paths, map(_state, paths), strict=True))
    for file in files:
        if states[file.path].size != file.size:
            raise _changed(file.path)
    return states


def _result(future: Future[FileState]) -> FileState:
    """Wait with a limit, again and again: Python misses a signal that comes right before a wait without one."""
    while wait([future], _POLL_INTERVAL_S).not_done:
        continue
    return future.result()


def pieces_of(path: str, size: int) -> list[Piece]:
    """Return the pieces of a file in order; an empty file has none."""
    starts = range(0, size, PIECE_BYTES)
    return [Piece(path, number, min(PIECE_BYTES, size - start)) for number, start in enumerate(starts)]


def digest_piece(piece: Piece, meter: ReadCounter, visit: Callable[[], None]) -> bytes:
    """Return the SHA-256 of a piece (32 bytes). `visit` is called once per MiB and can raise to stop the work.

    Raises `UserError` if the file cannot be read or is shorter than it was.
    """
    digest = hashlib.sha256()
    left = piece.size
    with open_stored(piece.path, meter) as stream:
        stream.seek(piece.number * PIECE_BYTES)
        while left:
            visit()
            block = stream.read(min(left, _READ_BYTES))
            if not block:
                raise _changed(piece.path)
            digest.update(block)
            left -= len(block)
    return digest.digest()


def digest_of_file(pieces: Iterable[bytes]) -> str:
    """Return a file's digest, given those of its pieces in order."""
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def digest_files(states: Mapping[str, FileState], tick: Callable[[int], None]) -> Iterator[tuple[str, FileContent]]:
    """Yield the path and content of each file, in order. `tick` receives the number of bytes read so far.

    Raises `UserError` for a file that cannot be read or that changes meanwhile.
    """
    hashing = _Hashing()
    with _threads(_THREADS) as pool:
        try:
            digests = {
                path: [pool.submit(hashing, piece) for piece in pieces_of(path, state.size)]
                for path, state in states.items()
            }
            for path, state in states.items():
                while wait(digests[path], _POLL_INTERVAL_S).not_done:
                    tick(hashing.bytes_read())
                sha256 = digest_of_file(digest.result() for digest in digests[path])
                refuse_change(path, state)
                yield path, FileContent(state, sha256)
        finally:
            hashing.stop.set()


def refuse_change(path: str, state: FileState) -> None:
    """Raise `UserError` unless the file has the size and time of modification that it had before."""
    now = file_state(path)
    if now is None or (now.size, now.modified) != (state.size, state.modified):
        raise _changed(path)


@contextmanager
def unchanged(path: str, state: FileState | None) -> Iterator[None]:
    """Raise `UserError` if the file changes inside the block, also when that causes another error. None: unknown."""
    try:
        yield
    except UserError:
        if state is not None:
            refuse_change(path, state)
        raise
    if state is not None:
        refuse_change(path, state)


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads are not waited for after the block: at Ctrl-C, one can hang with its file system."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Hashing:
    """Hashes pieces in several threads, until `stop` is set."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._meters: list[ReadCounter] = []  # one per piece

    def __call__(self, piece: Piece) -> bytes:
        meter = ReadCounter()
        self._meters.append(meter)
        return digest_piece(piece, meter, self._visit)

    def bytes_read(self) -> int:
        return sum(meter.bytes for meter in self._meters)

    def _visit(self) -> None:
        if self.stop.is_set():
            raise StoppedError


def _state(path: str) -> FileState:
    state = file_state(path)
    if state is None:
        raise _changed(path)
    return state


def _changed(path: str) -> UserError:
    fix = "wait until nothing writes to it, and run the same command again; finished work on other files is kept"
    return UserError("the file changed while it was read", place=path, fix=fix)
