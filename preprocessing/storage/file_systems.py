"""Access to files at URLs and on local disks. This is the only module that imports fsspec.

The scheme of a URL selects the file system: s3fs reads `s3://bucket/folder/file`, gcsfs reads `gs://`. fsspec has a
library for each scheme. A library takes its options from fsspec's configuration and from the environment, as it
documents them.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from configs.errors import UserError
from configs.machine import install_extra

# In object stores, the library retries failed requests, a complete file appears when its upload ends, and there are no
# folders to create.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
ATTEMPTS = 4  # for other file systems, when a connection breaks or times out
FIRST_PAUSE_S = 0.5  # before the second attempt; each pause is twice the one before
READ_AHEAD_BYTES = 8 << 20  # the default of s3fs, 50 MiB, is too much for each of several open files

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # extras of bertrain that install the scheme's library
_AWS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_GOOGLE = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
_CREDENTIALS = {"s3": _AWS, "s3a": _AWS, "gs": _GOOGLE, "gcs": _GOOGLE}
# What an object store or another file system says about a file's content, the most reliable statement first.
_VERSION_KEYS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "modified", "updated")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

T = TypeVar("T")


class StoreError(UserError):
    """A file system failed and can succeed later. `__cause__` is the error that its library raised."""


@dataclass(frozen=True)
class FileState:
    """What tells cheaply whether a file's content may have changed."""

    size: int
    modified: str  # time of modification in ns, or a store's etag; "": unknown
    changed: str = ""  # local files: time of the inode's change in ns, which a copied modification time does not hide


def is_url(place: str) -> bool:
    """Return whether `place` is a URL; otherwise it is a local path."""
    return bool(_SCHEME.match(place))


def is_object_store(url: str) -> bool:
    """Return whether uploads appear complete, so that they need no temporary name."""
    return scheme_of(url) in OBJECT_STORES


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, such as "s3", or "" for a local path."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else ""


def file_bytes(place: str) -> int | None:
    """Return the size in bytes of the file at a path or URL, or None when there is no file."""
    if not is_url(place):
        return os.path.getsize(place) if os.path.exists(place) and not os.path.isdir(place) else None
    try:
        found = attempt(place, lambda system, path: system.info(path))
    except FileNotFoundError:
        return None
    return None if found["type"] == "directory" else int(found["size"])


def file_state(place: str) -> FileState | None:
    """Return the state of the file at a path or URL, or None when there is no file."""
    try:
        if not is_url(place):
            found = os.stat(place)
            return FileState(found.st_size, str(found.st_mtime_ns), str(found.st_ctime_ns))
        entry = attempt(place, lambda system, path: system.info(path))
    except FileNotFoundError:
        return None
    version = next((entry[key] for key in _VERSION_KEYS if entry.get(key)), "")
    return FileState(int(entry["size"]), str(version))


def open_file(place: str) -> IO[bytes]:
    """Open the file at a path or URL for reading and seeking.

    Raises `FileNotFoundError` when there is no file, and `StoreError` on failure, also during later reads.
    """
    if not is_url(place):
        return open(place, "rb")  # the caller closes it
    stream = attempt(place, lambda system, path: system.open(path, "rb", block_size=READ_AHEAD_BYTES))
    return io.BufferedReader(_UrlStream(stream, place), 1 << 20)


def files_below(url: str) -> dict[str, dict[str, Any]]:
    """Return what the file system says about each file below a URL, by the file's URL."""
    try:
        return attempt(url, lambda system, path: _files_below(url, system, path))
    except FileNotFoundError:
        return {}


def has_files(url: str) -> bool:
    """Return whether there is a file below a URL."""
    try:
        return attempt(url, lambda system, path: any(True for _ in _walk(system, path)))
    except FileNotFoundError:
        return False


def attempt(url: str, operation: Callable[[Any, str], T]) -> T:
    """Call `operation` with the URL's file system and the path in it, and return its result.

    Passes `FileNotFoundError` on. Raises `UserError` when no installed library supports the scheme, and when
    credentials or permissions are missing. Raises `StoreError` for all other failures, after a bounded number of
    retries.
    """
    system, path = _resolved(url)
    attempts = 1 if is_object_store(url) else ATTEMPTS
    for number in range(1, attempts + 1):
        try:
            return operation(system, path)
        except FileNotFoundError:
            raise
        except Exception as error:  # each library raises its own exception types
            if number == attempts or not isinstance(error, ConnectionError | TimeoutError):
                raise _explained(url, error) from error
        time.sleep(FIRST_PAUSE_S * 2 ** (number - 1))
    raise AssertionError("the last attempt returns or raises")


def _files_below(url: str, system: Any, path: str) -> dict[str, dict[str, Any]]:
    # In an object store, one request lists a thousand files, from all folders.
    entries = system.find(path, detail=True).values() if is_object_store(url) else _walk(system, path)
    prefix = f"{path.rstrip('/')}/"
    # A name that ends in "/" is a folder's placeholder, which the consoles of object stores create.
    return {
        f"{url}/{entry['name'].removeprefix(prefix)}": entry
        for entry in entries
        if entry["name"].startswith(prefix) and not entry["name"].endswith("/")
    }


def _walk(system: Any, path: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of all files below `path`. fsspec's own `walk` omits folders that it cannot list."""
    for entry in system.ls(path, detail=True):
        if entry["name"].rstrip("/") == path.rstrip("/"):
            continue  # `path` is a file, or this entry is its placeholder
        if entry["type"] != "directory":
            yield entry
        else:
            yield from _walk(system, entry["name"])


def _resolved(url: str) -> tuple[Any, str]:
    import fsspec  # type: ignore[import-untyped]  # imported here because the import is slow

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(scheme_of(url))
        fix = install_extra(extra) if extra else "install the fsspec library of this scheme"
        raise UserError(f"no installed library supports {scheme_of(url)}:// ({error})", place=url, fix=fix) from error
    except Exception as error:  # some libraries connect immediately
        raise _explained(url, error) from error
    system.dircache.use_listings_cache = False  # so that a process sees files that another one has written
    return system, path


def _explained(url: str, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    credentials = _CREDENTIALS.get(scheme_of(url), "configure fsspec for this scheme")
    if "Credential" in type(error).__name__:
        return UserError(f"no credentials: {reason}", place=url, fix=credentials)
    if isinstance(error, PermissionError):
        fix = f"grant these credentials read and write access, or use others: {credentials}"
        return UserError(f"access is denied: {reason}", place=url, fix=fix)
    fix = "check the URL and the connection, and run the same command again"
    return StoreError(f"the file system failed: {reason}", place=url, fix=fix)


class _UrlStream(io.RawIOBase):
    """An open file at a URL that converts errors into `UserError`."""

    def __init__(self, stream: IO[bytes], url: str) -> None:
        self._stream = stream
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io hands over a memoryview
        try:
            data = self._stream.read(len(buffer))
        except FileNotFoundError:
            raise
        except Exception as error:  # each library raises its own exception types
            raise _explained(self._url, error) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
