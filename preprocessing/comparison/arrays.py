"""Small arrays that a comparison leaves for later steps and reruns: NumPy files that end in a digest of themselves."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.storage import Store

_DIGEST_BYTES = hashlib.sha256().digest_size


def write_array(store: Store, name: str, array: NDArray[Any]) -> None:
    """Write an array, with the SHA-256 of its file behind it. `numpy.load` reads the file too."""
    content = io.BytesIO()
    np.save(content, array)
    with store.write(name) as stream:
        stream.write(content.getvalue())
        stream.write(hashlib.sha256(content.getvalue()).digest())


def read_array(store: Store, name: str) -> NDArray[Any] | None:
    """Return an array, or None if the file does not exist or is damaged."""
    file = store.read(name)
    if file is None:
        return None
    content, digest = file[:-_DIGEST_BYTES], file[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content))
    return array
