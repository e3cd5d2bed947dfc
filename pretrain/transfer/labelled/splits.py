"""Training, validation and test records: from separate files, or split by the digest of each record's text or context.

Equal texts, and all questions of one context, are in the same part. Each label has a tenth of its texts in validation
and a tenth in test, as far as it has enough. The split is the same for every seed and model.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.conll import read_tokens
from pretrain.transfer.labelled.label_set import LabelSet, names_of
from pretrain.transfer.labelled.parts import SECOND_TEST, find_parts
from pretrain.transfer.labelled.records import HOW_TO_PREDICT, Records
from pretrain.transfer.labelled.squad import read_squad
from pretrain.transfer.labelled.texts import read_choices, read_texts_of
from pretrain.transfer.labelled.values import HIDDEN, NUMBER

HELD_OUT_SHARE = 0.1  # of the training file, for validation and for test
FEWEST_TEXTS = 3  # of a label, to have one in each part


@dataclass(frozen=True)
class Splits:
    """The parts of a task's records, and the counts of each file that was read."""

    training: Records
    validation: Records
    test: Records
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    second_test: Records | None = None

    def parts(self) -> dict[str, Records]:
        """Return the parts by name."""
        second = {} if self.second_test is None else {SECOND_TEST: self.second_test}
        return {"training": self.training, "validation": self.validation, "test": self.test, **second}

    def labels(self) -> LabelSet:
        """Return the labels of all parts; only for records that have labels."""
        return LabelSet.of(self.parts())


def read_splits(task: TaskConfig) -> Splits:
    """Read a task's files; a part without a file is a tenth of the training file.

    Raises `UserError` when a part is empty, or when its labels are hidden or of another kind than those of training.
    """
    paths = find_parts(task)
    read = {part: read_records(path, task) for part, path in paths.items()}
    files = {of.place: {"records": len(of) + of.dropped.total(), "dropped": dict(of.dropped)} for of in read.values()}
    shares = [part for part in ("test", "validation") if part not in read]
    parts = _split(read["training"], task, shares) | {part: of for part, of in read.items() if part != "training"}
    for part, records in parts.items():
        if not records.records:
            fix = f"give more records, or set `{part}` of the task to a file of its own"
            if _are_quantities(task, read["training"]):
                fix = "set task.regression=true, since nearly every record has a number of its own for a label"
            raise UserError(f"too few records: there are none for {part}", place=task.data, fix=fix)
        _check_labels(parts["training"], records)
    return Splits(parts["training"], parts["validation"], parts["test"], files, parts.get(SECOND_TEST))


def read_records(path: Path, task: TaskConfig, *, labelled: bool = True) -> Records:
    """Read the records of one file; without labels for predictions."""
    if task.kind == "qa":
        return read_squad(path, labelled=labelled)
    reader = {"tag": read_tokens, "choice": read_choices}.get(task.kind, read_texts_of)
    return reader(path, task, labelled=labelled)


def key_of(record: dict[str, Any]) -> str:
    """Return what must not be in two parts: a record's texts without differences in white space, or its context."""
    names = ("context",) if "context" in record else ("tokens",) if "tokens" in record else ("text", "text_b")
    values = [record[name] for name in names if name in record]
    return json.dumps([" ".join(value.split()) if isinstance(value, str) else value for value in values])


def _split(records: Records, task: TaskConfig, shares: Sequence[str]) -> dict[str, Records]:
    """Divide a file's records into training and these shares. The file's counts stay with training."""
    part_of_key = _parts_of_keys(records, task, shares)
    numbers: dict[str, list[int]] = {part: [] for part in (*shares, "training")}
    for number, record in enumerate(records.records):
        numbers[part_of_key[key_of(record)]].append(number)
    parts = {part: records.select(of_part) for part, of_part in numbers.items()}
    parts["training"].treated, parts["training"].dropped = records.treated, records.dropped
    return parts


def _parts_of_keys(records: Records, task: TaskConfig, shares: Sequence[str]) -> dict[str, str]:
    stratified = task.kind in ("classify", "pair") and not task.regression
    strata: dict[str, dict[str, None]] = defaultdict(dict)
    seen: set[str] = set()
    for record in records.records:
        key = key_of(record)
        if key not in seen:  # a text with two labels belongs to its first
            strata[json.dumps(names_of(record)) if stratified else ""][key] = None
            seen.add(key)
    found = {}
    for keys in strata.values():
        count = max(1, round(HELD_OUT_SHARE * len(keys))) if len(keys) >= FEWEST_TEXTS else 0
        for place, key in enumerate(sorted(keys, key=_digest)):
            share = place // count if count else len(shares)
            found[key] = shares[share] if share < len(shares) else "training"
    return found


def _are_quantities(task: TaskConfig, records: Records) -> bool:
    """Return whether the labels of a classification are numbers of which few occur twice."""
    if task.kind not in ("classify", "pair") or task.regression:
        return False
    names = {name for record in records.records for name in names_of(record)}
    return 2 * len(names) > len(records) > FEWEST_TEXTS and all(map(NUMBER.fullmatch, names))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _check_labels(training: Records, part: Records) -> None:
    labels, known = [record.get("label") for record in part.records], training.records[0].get("label")
    if type(labels[0]) is not type(known):
        kinds = {list: "lists of labels", str: "one label each", float: "numbers"}
        cause = f"records have {kinds[type(labels[0])]}, but those of training have {kinds[type(known)]}"
        raise UserError(cause, place=part.place, fix="give all files labels of one kind")
    hidden = (HIDDEN, float(HIDDEN))
    if set(map(str, labels)) <= set(map(str, hidden)) and not any(r["label"] in hidden for r in training.records):
        cause = f"all labels are {HIDDEN}, the sign for hidden labels"
        raise UserError(cause, place=part.place, fix=f"give a file with labels; {HOW_TO_PREDICT}")
