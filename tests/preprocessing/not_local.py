"""A file system of Beam's that is not local: an object store, its objects files below the path of their URL.

An object appears when it is closed; there are no folders; nothing is renamed onto what is there.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

SCHEME = "shelf"


class ShelfFileSystem(FileSystem):
    """`shelf:///tmp/x/y.txt` is kept in /tmp/x/y.txt."""

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        raise NotImplementedError

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path in (path for folder in folders(dir_or_prefix) for path in folder.rglob("*")):
            url = f"{SCHEME}://{path}"
            if path.is_file() and url.startswith(dir_or_prefix) and not path.name.endswith(".open"):
                yield FileMetadata(url, path.stat().st_size)

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> BinaryIO:
        return Upload(local(path))

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> Any:
        return local(path).open("rb")

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        raise NotImplementedError

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            if self.exists(destination):
                in_the_way = {(source, destination): FileExistsError(destination)}
                raise BeamIOError("rename failed", in_the_way)  # type: ignore[no-untyped-call]
            os.rename(local(source), local(destination))

    def exists(self, path: str) -> bool:
        return local(path).is_file()

    def size(self, path: str) -> int:
        return local(path).stat().st_size

    def last_updated(self, path: str) -> float:
        return local(path).stat().st_mtime

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            local(path).unlink()


class Upload(io.BytesIO):
    """What is written to an object that is not there before it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def close(self) -> None:
        if not self.closed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_name(f"{uuid.uuid4().hex}.open")
            fresh.write_bytes(self.getvalue())
            os.replace(fresh, self.path)
        super().close()


def local(url: str) -> Path:
    return Path(url.removeprefix(f"{SCHEME}://"))


def folders(prefix: str) -> list[Path]:
    """The folder that a prefix of URLs lies in, if there is one."""
    folder = local(prefix.rpartition("/")[0])
    return [folder] if folder.is_dir() else []
