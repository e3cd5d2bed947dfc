"""Findings about a task's parts that make its metrics mean less than they seem to."""

from __future__ import annotations

from collections import defaultdict

from pretrain.transfer.labelled.label_set import names_of
from pretrain.transfer.labelled.parts import SECOND_TEST
from pretrain.transfer.labelled.records import Records
from pretrain.transfer.labelled.splits import Splits, key_of

FEW_TEST_RECORDS = 30


def shared_texts(splits: Splits) -> dict[str, int]:
    """Return the number of validation and test records whose texts, or contexts, are also in an earlier part."""
    keys = {part: [key_of(record) for record in records.records] for part, records in splits.parts().items()}
    training, validation = set(keys["training"]), set(keys["validation"])
    counts = {
        "validation texts also in training": sum(key in training for key in keys["validation"]),
        "test texts also in training": sum(key in training for key in keys["test"]),
        "test texts also in validation": sum(key in validation for key in keys["test"]),
        "second_test texts also in training": sum(key in training for key in keys.get(SECOND_TEST, [])),
    }
    return {cause: count for cause, count in counts.items() if count}


def contradictions(records: Records) -> int:
    """Return the number of texts of a classification that have several labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records.records:
        labels[key_of(record)].add("\n".join(names_of(record)))
    return sum(len(of_text) > 1 for of_text in labels.values())
