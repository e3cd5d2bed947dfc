"""Training, validation and test records: from separate files, or split by a digest of each record's text or context.

Equal texts, and all questions of one context, are in the same part. The split is the same for every seed and model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.tasks.choice import read_choices
from pretrain.transfer.tasks.readers import Records, read_conll, read_squad, read_table

HELD_OUT_SHARE = 0.1  # of the training file, for validation and for test


@dataclass(frozen=True)
class Splits:
    """The three parts of a task's records."""

    training: Records
    validation: Records
    test: Records


def read_splits(task: TaskConfig) -> Splits:
    """Read a task's files; a part without a file is a tenth of the training file.

    Raises `UserError` when a part is empty.
    """
    training, given = _read(Path(task.data), task), {}
    for name, path in (("validation", task.validation), ("test", task.test)):
        if path is not None:
            given[name] = _read(Path(path), task)
    shares = [name for name in ("test", "validation") if name not in given]
    part_of_record = [_part_of(_key(record, task), shares) for record in training.records]
    parts = {
        name: training.select([number for number, part in enumerate(part_of_record) if part == name])
        for name in (*shares, "training")
    } | given
    for name, part in parts.items():
        if not part.records:
            fix = f"give more records, or set `{name}` of the task to a file of its own"
            raise UserError(f"too few records: there are none for {name}", place=task.data, fix=fix)
    return Splits(parts["training"], parts["validation"], parts["test"])


def _read(path: Path, task: TaskConfig) -> Records:
    if task.kind == "qa":
        return read_squad(path)
    if task.kind == "tag":
        return read_conll(path)
    if task.kind == "choice":
        return read_choices(path)
    texts = [task.text] if task.kind == "classify" else [task.text, task.text_b]
    return read_table(path, [*texts, task.label])


def _key(record: dict[str, Any], task: TaskConfig) -> str:
    names = {"qa": ["context"], "tag": ["tokens"], "choice": ["context"]}.get(task.kind, [task.text])
    return json.dumps([record[name] for name in names], ensure_ascii=False)


def _part_of(key: str, shares: list[str]) -> str:
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    number = int(place / HELD_OUT_SHARE)
    return shares[number] if number < len(shares) else "training"
