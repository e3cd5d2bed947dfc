"""Where a data set is made: a folder, or a URL of any scheme that one of Beam's file systems answers to.

Its files go by names relative to it, such as "shards/00012.0003-p00-train.arrow". A file is there whole or not at all,
and under its last name it never changes but to the same bytes: so presence is all that says that work is done.
"""

# mypy: allow-untyped-calls
# Beam's FileSystems are half typed.

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from typing_extensions import override

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX, atomic_write, explain_write_errors
from preprocessing.execution import BeamIOError, CompressionTypes, FileSystems


class Store(ABC):
    """The files of a data set, or of a part of it."""

    pace_s: ClassVar[float]  # how often to tell others something through it, and to look what they tell

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
                return _sha256(stream)
        except FileNotFoundError:
            return None


def store_at(place: str) -> Store:
    """The store at a path or URL, there or not. `UserError` for a file, and for a scheme that nobody answers to."""
    if not FileSystems.get_scheme(place):
        folder = Path(place).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise UserError("this is a file, not a folder", place=str(folder), fix="choose another data.dataset")
        return LocalStore(folder)
    with _explained(place):
        FileSystems.get_filesystem(place)
    return BeamStore(place.rstrip("/"))


@dataclass(frozen=True)
class LocalStore(Store):
    """A folder of a local or shared file system: files are synced and renamed into place."""

    folder: Path
    pace_s = 0.2

    @property
    @override
    def place(self) -> str:
        return str(self.folder)

    @override
    def below(self, name: str) -> LocalStore:
        return LocalStore(self.folder / name)

    @override
    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return atomic_write(self.folder / name)

    @override
    def note(self, name: str, text: str) -> None:
        fresh = self.folder / f".{name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        fresh.write_text(text)
        os.replace(fresh, self.folder / name)

    @override
    def open(self, name: str) -> IO[bytes]:
        return (self.folder / name).open("rb")

    @override
    def size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    @override
    def names(self) -> list[str]:
        places = os.walk(self.folder)  # not `rglob`, which minds folders that vanish meanwhile
        return [os.path.relpath(Path(place, name), self.folder) for place, _, names in places for name in names]

    @override
    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @override
    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @override
    def is_empty(self) -> bool:
        return not self.folder.is_dir() or not any(self.folder.iterdir())

    @override
    def holds(self, path: str) -> bool:
        return Path(path).is_relative_to(self.folder)

    @override
    def explained(self) -> AbstractContextManager[None]:
        return explain_write_errors(self.folder)


@dataclass(frozen=True)
class BeamStore(Store):
    """A URL. A file is made on a local disk, then copied to a name beside its place and renamed."""

    url: str
    pace_s = 5.0

    @property
    @override
    def place(self) -> str:
        return self.url

    @override
    def below(self, name: str) -> BeamStore:
        return BeamStore(f"{self.place}/{name}")

    @override
    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile() as local:
            with explain_write_errors(Path(tempfile.gettempdir())):
                yield local
                local.flush()
            self._publish(local, name)

    @override
    def note(self, name: str, text: str) -> None:
        with _explained(path := self._path(name)):
            self._upload(io.BytesIO(text.encode()), path)

    @override
    def open(self, name: str) -> IO[bytes]:
        path = self._path(name)
        with _explained(path):
            if not FileSystems.exists(path):
                raise FileNotFoundError(path)
            try:
                stream: IO[bytes] = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
            except BeamIOError as error:
                if not FileSystems.exists(path):  # removed just now
                    raise FileNotFoundError(path) from error
                raise
            return stream

    @override
    def size(self, name: str) -> int | None:
        path = self._path(name)
        with _explained(path):
            return int(FileSystems.get_filesystem(path).size(path)) if FileSystems.exists(path) else None

    @override
    def names(self) -> list[str]:
        with _explained(self.place):
            found = FileSystems.match([f"{self.place}/**"])[0].metadata_list
        return sorted(file.path.removeprefix(f"{self.place}/") for file in found)

    @override
    def remove(self, name: str) -> None:
        path = self._path(name)
        with _explained(path):
            if FileSystems.exists(path):
                FileSystems.delete([path])

    @override
    def clear(self) -> None:
        for name in self.names():
            self.remove(name)

    @override
    def is_empty(self) -> bool:
        with _explained(self.place):
            return not FileSystems.match([f"{self.place}/**"], limits=[1])[0].metadata_list

    @override
    def holds(self, path: str) -> bool:
        return path.startswith(f"{self.place}/")

    @override
    def explained(self) -> AbstractContextManager[None]:
        return nullcontext()  # each of its operations explains itself

    def _path(self, name: str) -> str:
        return f"{self.place}/{name}"

    def _publish(self, local: IO[bytes], name: str) -> None:
        """Unless it is there already: so what others may be reading, or have just made, never vanishes."""
        folder, _, last = name.rpartition("/")
        partial = self._path(f"{folder}/".lstrip("/") + f".{last}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        path = self._path(name)
        with _explained(path):
            local.seek(0)
            if FileSystems.exists(path) and self.sha256(name) == _sha256(local):
                return
            local.seek(0)
            try:
                self._upload(local, partial)
                self._rename(partial, path)
            except BaseException:
                with suppress(OSError):  # a part of it was made, or nothing
                    FileSystems.delete([partial])
                raise

    @staticmethod
    def _rename(partial: str, path: str) -> None:
        if FileSystems.exists(path):  # damaged; and not every file system renames onto a file
            FileSystems.delete([path])
        try:
            FileSystems.rename([partial], [path])
        except BeamIOError:
            if not FileSystems.exists(path):
                raise
            FileSystems.delete([partial])  # another share was quicker, with the same bytes

    @staticmethod
    def _upload(content: IO[bytes], path: str) -> None:
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            shutil.copyfileobj(content, stream, 1 << 20)


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except (BeamIOError, ValueError) as error:  # ValueError: a scheme that no file system installed here answers to
        details = getattr(error, "exception_details", None)
        reason = next(iter(details.values())) if isinstance(details, dict) and details else error
        fix = "check the URL, its permissions, and that Beam's file system for it is installed"
        raise UserError(f"cannot be used: {reason}", place=place, fix=fix) from error
