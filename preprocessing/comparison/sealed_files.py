"""Files that the preparation of a corpus leaves for its later steps and reruns. They end in a digest of themselves.

A damaged file is removed, so that a rerun makes it again. The digest follows the end of an Arrow stream or of a NumPy
array, which their readers do not pass.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from preprocessing.dataset import HashingStream
from preprocessing.storage import Store

_DIGEST_BYTES = hashlib.sha256().digest_size
_BLOCK_BYTES = 1 << 20


@contextmanager
def write_sealed(store: Store, name: str) -> Iterator[IO[bytes]]:
    """Open a file for writing, and write its digest behind what the block writes."""
    with store.write(name) as stream:
        hashing = HashingStream(stream)
        yield cast("IO[bytes]", hashing)
        stream.write(hashing.hash.digest())


@contextmanager
def open_sealed(store: Store, name: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, after its digest is checked. Raises `UserError` if it is damaged or missing."""
    try:
        with store.local_file(name) as path:
            if not _is_intact(path.open("rb"), path.stat().st_size):
                raise damaged(store, name)
            with path.open("rb") as stream:
                yield stream
    except FileNotFoundError:
        raise damaged(store, name) from None


def write_array(store: Store, name: str, array: NDArray[Any]) -> None:
    """Write an array."""
    with write_sealed(store, name) as stream:
        np.save(stream, array)


def read_array(store: Store, name: str) -> NDArray[Any] | None:
    """Return an array, or None if the file does not exist or is damaged."""
    content = store.read(name)
    if content is None or not _is_intact(io.BytesIO(content), len(content)):
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content))
    return array


def damaged(store: Store, name: str) -> UserError:
    """Return the error of a damaged file, which is removed: a rerun makes what is missing."""
    store.remove(name)
    return UserError(f"{name} is damaged", place=store.place, fix="run the same command again: the file is made again")


def _is_intact(stream: IO[bytes], size: int) -> bool:
    """Return whether a stream of `size` bytes ends in the digest of the rest. Closes it."""
    digest, left = hashlib.sha256(), size - _DIGEST_BYTES
    with stream:
        while left > 0 and (block := stream.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        return left == 0 and stream.read() == digest.digest()
