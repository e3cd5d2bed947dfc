"""A store in a folder of a local or shared file system."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from typing_extensions import override

from configs.errors import UserError
from configs.files import MOST_WHOLE_BYTES, TEMPORARY_SUFFIX, atomic_write, explain_write_errors, read_bounded
from preprocessing.storage.store import Stamp, Store, refused_as_too_large


@dataclass(frozen=True)
class LocalStore(Store):
    """A folder. Files are synced to disk and renamed into place."""

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
    def room_bytes(self) -> int | None:
        disk = next(path for path in (self.folder.absolute(), *self.folder.absolute().parents) if path.is_dir())
        return shutil.disk_usage(disk).free + sum(stamp.size for stamp in self.stamps().values())

    @override
    def note(self, name: str, text: str) -> None:
        fresh = self.folder / f".{name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        fresh.write_text(text)
        os.replace(fresh, self.folder / name)

    @override
    def open(self, name: str) -> IO[bytes]:
        return (self.folder / name).open("rb")

    @override
    def read(self, name: str, most_bytes: int = MOST_WHOLE_BYTES) -> bytes | None:
        path = self.folder / name
        try:
            return read_bounded(path, most_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise refused_as_too_large(str(path), most_bytes) from error
            fix = "check the file and its permissions"
            raise UserError(f"cannot read: {error.strerror}", place=str(path), fix=fix) from error

    @override
    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(path)
        yield path

    @override
    def size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    @override
    def stamp(self, name: str) -> Stamp | None:
        try:
            found = os.stat(self.folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        # The time of the inode's change too, which a tool cannot set back.
        return Stamp(found.st_size, max(found.st_mtime_ns, found.st_ctime_ns))

    @override
    def names(self) -> list[str]:
        start = len(os.path.join(self.folder, ""))
        places = os.walk(self.folder)  # `rglob` fails when a folder disappears during the search
        return [os.path.join(place, name)[start:] for place, _, names in places for name in names]

    @override
    def stamps(self) -> dict[str, Stamp]:
        found = {name: self.stamp(name) for name in self.names()}
        return {name: stamp for name, stamp in found.items() if stamp}  # none: it was removed meanwhile

    @override
    def make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

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
