"""The interface to the files of a data set, in a local folder or at a URL.

File names are relative to the store, such as "shards/00012.0003-p00-train.arrow". A file is either complete or absent,
and under its final name it is replaced by the same bytes only. A file's presence therefore means that its work is done.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from configs.errors import UserError
from configs.files import MOST_WHOLE_BYTES, too_large


@dataclass(frozen=True)
class Stamp:
    """What a file system says about a file without reading it."""

    size: int  # bytes
    changed_ns: int | None  # time of its last change, by the file system's clock; None: unknown


class Store(ABC):
    """The files of a data set, or of a part of it."""

    pace_s: ClassVar[float]  # seconds between two messages that processes exchange through the store

    @property
    @abstractmethod
    def place(self) -> str:
        """The path or URL of the store."""

    @abstractmethod
    def below(self, name: str) -> Store:
        """Return the store for a folder in this store."""

    @abstractmethod
    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for writing. The complete file appears when the block ends; if the block raises, none appears."""

    @abstractmethod
    def note(self, name: str, text: str) -> None:
        """Write a small file whose loss is harmless."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading. Raises `FileNotFoundError` when it does not exist."""

    @abstractmethod
    def local_file(self, name: str) -> AbstractContextManager[Path]:
        """Yield the local path of a file: the file itself, or a copy that is removed when the block ends.

        A memory mapping of it can outlive the block. Raises `FileNotFoundError` when the file does not exist.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None when it does not exist."""

    @abstractmethod
    def stamp(self, name: str) -> Stamp | None:
        """Return the size of a file and the time of its last change, or None when it does not exist."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files in the store and its folders."""

    @abstractmethod
    def stamps(self) -> dict[str, Stamp]:
        """Return the stamp of each file in the store and its folders, by name."""

    @abstractmethod
    def make_folder(self) -> None:
        """Create the store's folder, so that files can be written there, if the place has folders."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    @abstractmethod
    def clear(self) -> None:
        """Remove all files and the folder itself."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Return whether the store has no files or does not exist."""

    def room_bytes(self) -> int | None:
        """Return the free bytes on the store's disk and those that its files take; None: it has no known limit."""
        return None

    @abstractmethod
    def holds(self, path: str) -> bool:
        """Return whether a path or URL points into the store."""

    @abstractmethod
    def explained(self) -> AbstractContextManager[None]:
        """Convert errors that prevent the block from writing into `UserError`."""

    def write_text(self, name: str, text: str) -> None:
        """Write `text` to a file as UTF-8."""
        with self.write(name) as stream:
            stream.write(text.encode())

    @abstractmethod
    def read(self, name: str, most_bytes: int = MOST_WHOLE_BYTES) -> bytes | None:
        """Return the bytes of a file, or None when it does not exist.

        Raises `UserError`, before it reads the file, if that is longer than `most_bytes`.
        """

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of a file. Raises `FileNotFoundError` when it does not exist."""
        with self.open(name) as stream:
            stream.seek(start)
            return stream.read(end - start)

    def sha256(self, name: str) -> str | None:
        """Return the hexadecimal SHA-256 of a file, or None when it does not exist."""
        try:
            with self.open(name) as stream:
                return sha256_of_stream(stream)
        except FileNotFoundError:
            return None


def refused_as_too_large(place: str, most_bytes: int) -> UserError:
    """Return the error of a file in a store that is not read, because it is longer than `most_bytes`."""
    fix = "it is damaged: restore it from a copy, or remove it and run `bertrain prepare RECIPE --overwrite`"
    return UserError(too_large(most_bytes), place=place, fix=fix)


def sha256_of_stream(stream: IO[bytes]) -> str:
    """Return the hexadecimal SHA-256 of the rest of a stream."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
