"""Stores of small values, through which gloo and NCCL find each other. Ranks trust what they hold.

`FolderStore` is for the ranks of one node, `SignedStore` for those of several. Neither needs an atomic counter: a
counter is the sum of one value per rank, which that rank alone writes, and the rank that adds last sees all of it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import Store

DIGEST_BYTES = 32
POLL_S = 0.002


class RankStore(Store):
    """The part that both stores share."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__()
        self.rank = rank
        self.world_size = world_size
        self.added: dict[str, int] = {}

    @abstractmethod
    def set(self, key: str, value: bytes | str) -> None:
        """Write a value."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return a value. Waits for it."""

    @abstractmethod
    def check(self, keys: Sequence[str]) -> bool:
        """Return whether all keys exist."""

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Return several values. Waits for them."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[bytes | str]) -> None:
        """Write several values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def add(self, key: str, value: int) -> int:
        """Add to a counter and return it."""
        self.added[key] = self.added.get(key, 0) + value
        self.set(f"{key}/{self.rank}", str(self.added[key]))
        parts = [f"{key}/{rank}" for rank in range(self.world_size)]
        return sum(int(self.get(part)) for part in parts if self.check([part]))


class FolderStore(RankStore):
    """One file per key in a private folder. Needs no locks, which some file systems refuse."""

    def __init__(self, folder: Path, rank: int, world_size: int, timeout: timedelta) -> None:
        super().__init__(rank, world_size)
        self.folder = folder
        self.limit = timeout

    def set(self, key: str, value: bytes | str) -> None:
        """Write a value."""
        file = self._file(key)
        temporary = file.with_name(f".{file.name}.{self.rank}")
        temporary.write_bytes(_bytes(value))
        os.replace(temporary, file)

    def get(self, key: str) -> bytes:
        """Return a value. Waits for it."""
        self.wait([key])
        return self._file(key).read_bytes()

    def check(self, keys: Sequence[str]) -> bool:
        """Return whether all keys exist."""
        return all(self._file(key).exists() for key in keys)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys exist. Raises `TimeoutError`."""
        limit = timeout or self.limit
        deadline = time.monotonic() + limit.total_seconds()
        while not self.check(keys):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {limit.total_seconds():.0f} s for other ranks to write {', '.join(keys)}")
            time.sleep(POLL_S)

    def set_timeout(self, timeout: timedelta) -> None:
        """Set how long `get` and `wait` wait."""
        self.limit = timeout

    def delete_key(self, key: str) -> bool:
        """Remove a key. Returns whether it existed."""
        with suppress(FileNotFoundError):
            self._file(key).unlink()
            return True
        return False

    def clone(self) -> FolderStore:
        """Return a store for another thread."""
        return FolderStore(self.folder, self.rank, self.world_size, self.limit)

    def _file(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()


class SignedStore(RankStore):
    """A store whose values are signed, so that only processes that know the key can write them."""

    def __init__(self, store: Store, key: bytes, rank: int, world_size: int) -> None:
        super().__init__(rank, world_size)
        self.store = store
        self.key = key

    def set(self, key: str, value: bytes | str) -> None:
        """Sign a value and write it."""
        content = _bytes(value)
        self.store.set(key, self._sign(key, content) + content)  # type: ignore[arg-type]  # takes bytes, too

    def get(self, key: str) -> bytes:
        """Return a value. Waits for it. Raises `PermissionError` if it is not signed."""
        signed = self.store.get(key)
        content = signed[DIGEST_BYTES:]
        if not hmac.compare_digest(signed[:DIGEST_BYTES], self._sign(key, content)):
            raise PermissionError(f"a process outside this start wrote {key!r} into the ranks' rendezvous")
        return content

    def check(self, keys: Sequence[str]) -> bool:
        """Return whether all keys exist."""
        return bool(self.store.check(list(keys)))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys exist."""
        if timeout is None:
            self.store.wait(list(keys))
        else:
            self.store.wait(list(keys), timeout)

    def set_timeout(self, timeout: timedelta) -> None:
        """Set how long `get` and `wait` wait."""
        self.store.set_timeout(timeout)

    def delete_key(self, key: str) -> bool:
        """Remove a key. Returns whether it existed."""
        return bool(self.store.delete_key(key))

    def clone(self) -> SignedStore:
        """Return a store with a connection of its own, for another thread."""
        return SignedStore(self.store.clone(), self.key, self.rank, self.world_size)  # type: ignore[attr-defined]

    def _sign(self, key: str, content: bytes) -> bytes:
        name = key.encode()
        return hmac.digest(self.key, len(name).to_bytes(8) + name + content, hashlib.sha256)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
