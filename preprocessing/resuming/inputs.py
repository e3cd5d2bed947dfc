"""The digests of the input files, and the record that saves hashing a file again.

DATASET/groups/inputs.json records for each path the file's state and digest. It belongs to this machine, so it is no
part of the manifest. A file whose state has changed, or was too fresh to be trusted, is hashed again, and so are all
files if the record is damaged: it would put a wrong digest into the manifest. Shares that run at the same time begin
with different files and read each other's records.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple
from functools import partial

from configs.errors import UserError
from preprocessing.documents import FileContent, Plan, digest_files, states_of
from preprocessing.resuming.parts import GROUPS
from preprocessing.resuming.share import WHOLE, Share
from preprocessing.resuming.work_records import read_record, write_record
from preprocessing.storage import FileState, Store

_RECORD = f"{GROUPS}/inputs.json"
_SETTLED_NS = 2_000_000_000  # a younger file can change again without another time of modification
_BATCH_BYTES = 1 << 30  # hashed between two writes of the record: a few seconds of work

Tick = Callable[[int, int], None]  # receives the bytes hashed so far and those to hash


def read_contents(store: Store, plan: Plan, tick: Tick, share: Share = WHOLE) -> dict[str, FileContent]:
    """Return the content of each input file by its path. Reads the files that the record in `store` does not cover.

    Raises `UserError` for a file that cannot be read or that changes meanwhile.
    """
    states = states_of([file for files in plan.files for file in files])
    contents = _known(store, states)
    missing = {path: state for path, state in states.items() if path not in contents}
    total, done = sum(state.size for state in missing.values()), 0
    for batch in _batches(_from_own(missing, share)):
        unknown = {path: state for path, state in batch.items() if path not in contents}
        contents.update(digest_files(unknown, partial(_add, tick, done, total)))
        done += sum(state.size for state in batch.values())
        contents |= _known(store, states)  # what other shares have hashed meanwhile
        _keep(store, contents)
    return contents


def _add(tick: Tick, before: int, total: int, read: int) -> None:
    tick(before + read, total)


def _from_own(states: Mapping[str, FileState], share: Share) -> dict[str, FileState]:
    """Return the files in the order in which a share hashes them."""
    files = list(states.items())
    first = len(files) * (share.number - 1) // share.count
    return dict([*files[first:], *files[:first]])


def _batches(states: Mapping[str, FileState]) -> Iterator[dict[str, FileState]]:
    batch: dict[str, FileState] = {}
    size = 0
    for path, state in states.items():
        batch[path] = state
        size += state.size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _known(store: Store, states: Mapping[str, FileState]) -> dict[str, FileContent]:
    record = _read_record(store)
    found = {path: record.get(_key(path)) for path in states}
    return {path: content for path, content in found.items() if content and content.state == states[path]}


def _keep(store: Store, contents: Mapping[str, FileContent]) -> None:
    """Record the digests of files that are not too fresh. A finished data set can be read-only: then it has none."""
    settled = {path: content for path, content in contents.items() if _is_settled(content.state)}
    if settled:
        record = {_key(path): [*astuple(content.state), content.sha256] for path, content in settled.items()}
        with suppress(OSError, UserError):
            write_record(store, _RECORD, record)


def _read_record(store: Store) -> dict[str, FileContent]:
    record = read_record(store, _RECORD) or {}
    with suppress(ValueError, TypeError):  # a damaged record of an earlier version, which has no checksum
        return {key: FileContent(FileState(*state), sha256) for key, (*state, sha256) in record.items()}
    return {}


def _key(path: str) -> str:
    """Return a path as text that JSON can hold, also if its name is not UTF-8."""
    return os.fsencode(path).decode("latin-1")


def _is_settled(state: FileState) -> bool:
    """Return whether a later change will show in the state."""
    if not state.changed:  # not a local file
        return bool(state.modified)
    newest = max(int(state.modified), int(state.changed))
    return time.time_ns() - newest > _SETTLED_NS
