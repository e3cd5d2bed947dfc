"""What a store of a data set's files does, whether it is a local folder or a URL.

Files have names relative to the store, such as "shards/00012.0003-p00-train.arrow". A file is there whole or not at
all, and under its final name it is only ever replaced by the same bytes: so a file's presence says that work is done.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, ClassVar


class Store(ABC):
    """The files of a data set, or of a part of it."""

    pace_s: ClassVar[float]  # how often processes tell one another something through it

    @property
    @abstractmethod
    def place(self) -> str:
        """Its path or URL."""

    @abstractmethod
    def below(self, name: str) -> Store:
        """A folder in it."""

    @abstractmethod
    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for writing; it appears, whole, when the block ends, and not at all when it raises."""

    @abstractmethod
    def note(self, name: str, text: str) -> None:
        """Write a small file that may be lost."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; `FileNotFoundError` when it is not there."""

    @abstractmethod
    def local_file(self, name: str) -> AbstractContextManager[Path]:
        """The path of a file on this machine, for the block: the file itself, or a copy that is removed afterwards.

        A mapping of it may outlive the block. `FileNotFoundError` when the file is not there.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file; None when it is not there."""

    @abstractmethod
    def names(self) -> list[str]:
        """All files in it and its folders."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything, and the folder itself."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether it holds nothing, or is not there."""

    @abstractmethod
    def holds(self, path: str) -> bool:
        """Whether a path or URL leads into it."""

    @abstractmethod
    def explained(self) -> AbstractContextManager[None]:
        """Turns what keeps the block from writing into a `UserError`."""

    def write_text(self, name: str, text: str) -> None:
        """Write `text` as UTF-8."""
        with self.write(name) as stream:
            stream.write(text.encode())

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None when it is not there."""
        try:
            with self.open(name) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def sha256(self, name: str) -> str | None:
        """Hexadecimal SHA-256 of a file; None when it is not there."""
        try:
            with self.open(name) as stream:
                return sha256_of_stream(stream)
        except FileNotFoundError:
            return None


def sha256_of_stream(stream: IO[bytes]) -> str:
    """Hexadecimal SHA-256 of what a stream still holds."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
