"""A store at a URL: in an object store, or in another file system that fsspec supports."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from typing_extensions import override

from configs.errors import UserError
from configs.files import MOST_WHOLE_BYTES, TEMPORARY_SUFFIX, explain_write_errors
from preprocessing.storage.file_systems import (
    READ_AHEAD_BYTES,
    StoreError,
    attempt,
    file_bytes,
    files_below,
    has_files,
    is_object_store,
    open_file,
)
from preprocessing.storage.store import Stamp, Store, refused_as_too_large, sha256_of_stream

# How file systems name the time of a file's last change: a datetime, or seconds since 1970.
_TIME_KEYS = ("LastModified", "mtime", "modified", "updated", "created")


@dataclass(frozen=True)
class UrlStore(Store):
    """Files are written to a local disk, then uploaded.

    A file system that shows incomplete uploads receives the file under a temporary name, then renames it.
    """

    url: str
    pace_s = 5.0

    @property
    @override
    def place(self) -> str:
        return self.url

    @override
    def below(self, name: str) -> UrlStore:
        return UrlStore(self._url_of(name))

    @override
    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile() as local:
            with explain_write_errors(Path(tempfile.gettempdir())):
                yield local
                local.flush()
            if is_object_store(self.url):
                self._upload(local.name, name)
            else:
                self._publish(local, name)

    @override
    def note(self, name: str, text: str) -> None:
        def write(system: Any, path: str) -> None:
            self._make_folder(system, path)
            system.pipe_file(path, text.encode())

        with self._explaining_missing_places(name):
            attempt(self._url_of(name), write)

    @override
    def open(self, name: str) -> IO[bytes]:
        return open_file(self._url_of(name))

    @override
    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        folder = Path(tempfile.gettempdir())
        with tempfile.NamedTemporaryFile() as copy:
            with self.open(name) as stored, explain_write_errors(folder):
                shutil.copyfileobj(stored, copy, READ_AHEAD_BYTES)
                copy.flush()
            yield Path(copy.name)

    @override
    def read(self, name: str, most_bytes: int = MOST_WHOLE_BYTES) -> bytes | None:
        try:
            content = self._first_bytes(name)
            if len(content) > READ_AHEAD_BYTES:  # otherwise that is all: few files need a second request
                size = self.size(name)
                if size is None or size <= most_bytes:
                    return bytes(attempt(self._url_of(name), lambda system, path: system.cat_file(path)))
            elif len(content) <= most_bytes:
                return content
        except FileNotFoundError:
            return None
        raise refused_as_too_large(self._url_of(name), most_bytes)

    def _first_bytes(self, name: str) -> bytes:
        """Return the first bytes of a file, one more than `READ_AHEAD_BYTES` if there are as many."""
        try:
            return self.read_range(name, 0, READ_AHEAD_BYTES + 1)
        except StoreError:
            if self.size(name):
                raise
            return b""  # object stores refuse a range of an empty object

    @override
    def read_range(self, name: str, start: int, end: int) -> bytes:
        if start == end:
            return b""
        return bytes(attempt(self._url_of(name), lambda system, path: system.cat_file(path, start=start, end=end)))

    @override
    def size(self, name: str) -> int | None:
        return file_bytes(self._url_of(name))

    @override
    def stamp(self, name: str) -> Stamp | None:
        try:
            entry = attempt(self._url_of(name), lambda system, path: system.info(path))
        except FileNotFoundError:
            return None
        return _stamp_of(entry)

    @override
    def names(self) -> list[str]:
        return sorted(url.removeprefix(f"{self.url}/") for url in files_below(self.url))

    @override
    def stamps(self) -> dict[str, Stamp]:
        return {url.removeprefix(f"{self.url}/"): _stamp_of(entry) for url, entry in files_below(self.url).items()}

    @override
    def make_folder(self) -> None:
        pass  # writing a file creates its folder

    @override
    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            attempt(self._url_of(name), lambda system, path: system.rm_file(path))

    @override
    def clear(self) -> None:
        with suppress(FileNotFoundError):
            attempt(self.url, lambda system, path: system.rm(path, recursive=True))

    @override
    def is_empty(self) -> bool:
        return not has_files(self.url)

    @override
    def holds(self, path: str) -> bool:
        return path.startswith(f"{self.url}/")

    @override
    def explained(self) -> AbstractContextManager[None]:
        return nullcontext()  # every operation of this class converts its own errors

    def _url_of(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _publish(self, local: IO[bytes], name: str) -> None:
        """Upload under a temporary name, then rename.

        Skips the upload when the same file exists, so that a file that others read or have just written never
        disappears.
        """
        if self.size(name) is not None:
            local.seek(0)
            if self.sha256(name) == sha256_of_stream(local):
                return
        folder, slash, last = name.rpartition("/")
        partial = f"{folder}{slash}.{last}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        try:
            self._upload(local.name, partial)
            self._rename(partial, name, last)
        except BaseException:
            with suppress(UserError):  # the partial file can be incomplete or absent
                self.remove(partial)
            raise

    def _upload(self, local: str, name: str) -> None:
        def put(system: Any, path: str) -> None:
            self._make_folder(system, path)
            system.put_file(local, path)

        with self._explaining_missing_places(name):
            attempt(self._url_of(name), put)

    def _rename(self, partial: str, name: str, last: str) -> None:
        self.remove(name)  # an existing file is damaged, and some file systems cannot rename onto a file
        try:
            attempt(self._url_of(partial), lambda system, path: system.mv(path, f"{path.rpartition('/')[0]}/{last}"))
        except UserError:
            if self.size(name) is None:
                raise
            self.remove(partial)  # another share was faster and wrote the same bytes

    def _make_folder(self, system: Any, path: str) -> None:
        if not is_object_store(self.url):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _explaining_missing_places(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            fix = "check the URL, or create the bucket"
            raise UserError(f"cannot write the file: {error}", place=self._url_of(name), fix=fix) from error


def _stamp_of(entry: dict[str, Any]) -> Stamp:
    times = (entry[key] for key in _TIME_KEYS if entry.get(key) is not None)
    return Stamp(int(entry["size"]), next((_nanoseconds(time) for time in times), None))


def _nanoseconds(time: Any) -> int | None:
    if isinstance(time, datetime):
        time = time.timestamp()
    return int(time * 1e9) if isinstance(time, int | float) else None
