"""Records for training, validation and test: from files of their own, or split off by a digest of what they are about.

Equal texts, and the questions of one context, never stand on both sides; every seed and model sees the same split.
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

TENTH = 0.1


@dataclass(frozen=True)
class Splits:
    """The three parts of a task's records."""

    training: Records
    validation: Records
    test: Records


def read_splits(task: TaskConfig) -> Splits:
    """Read a task's files; a part without a file is a tenth of the training file. `UserError` where one is empty."""
    training, given = _read(Path(task.data), task), {}
    for name, path in (("validation", task.validation), ("test", task.test)):
        if path is not None:
            given[name] = _read(Path(path), task)
    shares = [name for name in ("test", "validation") if name not in given]
    homes = [_home(_key(record, task), shares) for record in training.records]
    parts = {
        name: training.select([number for number, home in enumerate(homes) if home == name])
        for name in (*shares, "training")
    } | given
    for name, part in parts.items():
        if not part.records:
            fix = f"give more records, or set `{name}` of the task to a file of its own"
            raise UserError(f"too few records: none is left for {name}", place=task.data, fix=fix)
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


def _home(key: str, shares: list[str]) -> str:
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    number = int(place / TENTH)
    return shares[number] if number < len(shares) else "training"
