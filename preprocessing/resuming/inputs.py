"""The digests of the input files, and the record that saves hashing a file again.

DATASET/groups/inputs.json records for each path the file's state and digest. It belongs to this machine, so it is no
part of the manifest. A file whose state has changed, or was too fresh to be trusted, is hashed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple

from preprocessing.documents import FileContent, Plan, digest_files, states_of
from preprocessing.resuming.parts import GROUPS
from preprocessing.storage import FileState, Store

_RECORD = f"{GROUPS}/inputs.json"
_SETTLED_NS = 2_000_000_000  # a younger file can change again without another time of modification

Tick = Callable[[int, int], None]  # receives the bytes hashed so far and those to hash


def read_contents(store: Store, plan: Plan, tick: Tick) -> dict[str, FileContent]:
    """Return the content of each input file by its path. Reads the files that the record in `store` does not cover.

    Raises `UserError` for a file that cannot be read or that changes meanwhile.
    """
    states = states_of([file for files in plan.files for file in files])
    known = _read_record(store)
    contents = {path: known[path] for path, state in states.items() if path in known and known[path].state == state}
    missing = {path: state for path, state in states.items() if path not in contents}
    total = sum(state.size for state in missing.values())
    contents.update(digest_files(missing, lambda done: tick(done, total)))
    return contents


def keep_contents(store: Store, contents: Mapping[str, FileContent]) -> None:
    """Record the digests of files that are not too fresh, if that changes the record."""
    settled = {path: content for path, content in contents.items() if _is_settled(content.state)}
    if settled != _read_record(store):
        record = {path: [*astuple(content.state), content.sha256] for path, content in settled.items()}
        store.write_text(_RECORD, json.dumps(record))


def _read_record(store: Store) -> dict[str, FileContent]:
    with suppress(ValueError, TypeError):  # the record is damaged
        record = json.loads(store.read(_RECORD) or b"{}")
        return {path: FileContent(FileState(*state), sha256) for path, (*state, sha256) in record.items()}
    return {}


def _is_settled(state: FileState) -> bool:
    """Return whether a later change will show in the state."""
    if not state.changed:  # not a local file
        return bool(state.modified)
    newest = max(int(state.modified), int(state.changed))
    return time.time_ns() - newest > _SETTLED_NS
