"""A file system of fsspec's that is neither local nor an object store: files below the path of their URL.

A folder must be made before a file is written into it, a file is seen while it is written, and nothing is renamed onto
a file that is there. It is known to this process alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # comes without types
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]  # comes without types

SCHEME = "shelf"


class ShelfFileSystem(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """`shelf:///tmp/x/y.txt` is kept in /tmp/x/y.txt."""

    protocol = SCHEME

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(LocalFileSystem._strip_protocol(path.removeprefix(f"{SCHEME}://")))

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if Path(path2).exists():
            raise FileExistsError(path2)
        os.rename(path1, path2)


fsspec.register_implementation(SCHEME, ShelfFileSystem, clobber=True)
