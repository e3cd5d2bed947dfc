"""Measure whether a row's form tells its next-sentence label: `python -m tests.benchmarks.label_leak DATASET`.

Gradient boosting at scikit-learn's defaults predicts the label of training rows from the lengths of A and B and from
B's own ends: whether the first and the last piece begin a word, continue one (##), or are a punctuation mark, and which
one. The piece's id is no feature: thousands of ids hide the form. Five folds, in which no document is A's in two folds.
The area under the ROC curve (AUC) is 0.5 when the features tell nothing. It is measured for all rows and for those with
fewer tokens in A and B than a full row, and once more with A's ends added: what A and B share, such as an author's
punctuation, is content and may tell. An AUC below 0.5 tells no more about new rows: in a small data set, the rows of
equal lengths have both labels about equally often, so that the other rows hint at the opposite. The rows are those of
as many passes as hold ROWS rows.

The data set must hold provenance columns (`data.provenance=true`). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from configs.errors import UserError
from preprocessing.dataset import SHARDS, Manifest, Rows, read_manifest, read_shard
from preprocessing.inspection.row_rules import original_ids
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary

AT_MOST = 0.515  # or 0.5 + 3 sigma, where that is larger
FOLDS = 5
ROWS = 150_000

Features = NDArray[np.float32]  # [rows, features]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="the folder of a data set of the objective nsp, with provenance")
    print(json.dumps(measure(Path(parser.parse_args().dataset))))


def measure(folder: Path) -> dict[str, object]:
    """Return the benchmark's figures."""
    manifest = read_manifest(folder)
    vocabulary = Vocabulary.of_data_set(store_at(folder), manifest.vocabulary)
    shards = list(shards_of(folder, manifest))
    if any(rows.provenance is None for rows in shards):
        raise UserError("no provenance columns", place=str(folder / SHARDS), fix="prepare it with data.provenance=true")
    kinds = kinds_of(vocabulary)
    parts = zip(*(features(rows, kinds) for rows in shards), strict=True)
    lengths, a_ends, b_ends = (np.concatenate(part) for part in parts)
    labels = np.concatenate([rows.next_sentence_label for rows in shards])
    documents = np.concatenate([rows.provenance.a_document for rows in shards if rows.provenance])
    of_b, of_both = np.hstack([lengths, b_ends]), np.hstack([lengths, b_ends, a_ends])
    is_short = lengths.sum(axis=1) < manifest.max_seq_length - 3
    every = np.ones(len(labels), np.bool_)
    found = {
        "lengths and B's ends": leak(of_b, labels, documents, every),
        "lengths and both ends": leak(of_both, labels, documents, every),
        "lengths alone": leak(lengths, labels, documents, every),
        "lengths and B's ends, short rows": leak(of_b, labels, documents, is_short),
        "lengths and both ends, short rows": leak(of_both, labels, documents, is_short),
    }
    auc, sigma = found["lengths and B's ends"]["auc"], found["lengths and B's ends"]["sigma"]
    bound = max(AT_MOST, 0.5 + 3 * sigma)
    return {
        "benchmark": "label_leak",
        "ratio": round((bound - 0.5) / max(auc - 0.5, 1e-3), 2),
        "reference": f"an AUC of at most {bound:.4f}",
        "rows": len(labels),
        "documents": len(np.unique(documents)),
        "labelled_1": round(float(labels.mean()), 4),
        **found,
    }


def shards_of(folder: Path, manifest: Manifest) -> Iterator[Rows]:
    """Yield the training shards, pass after pass, until a pass has completed `ROWS` rows."""
    rows = 0
    for number in range(manifest.dupe_factor):
        if rows >= ROWS:
            return
        for shard in manifest.select("train", number):
            rows += shard.rows
            yield read_shard(folder / shard.name)


def leak(
    features: Features, labels: NDArray[Any], documents: NDArray[Any], chosen: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the cross-validated AUC over the chosen rows, and the standard deviation of an AUC of random scores."""
    features, labels, documents = features[chosen], labels[chosen], documents[chosen]
    random, true = int(labels.sum()), int(len(labels) - labels.sum())
    if min(random, true) < FOLDS or len(np.unique(documents)) < FOLDS:
        return {"auc": math.nan, "sigma": math.nan, "rows": len(labels)}
    classifier = HistGradientBoostingClassifier(random_state=0)
    folds = GroupKFold(FOLDS)
    scores = cross_val_predict(classifier, features, labels, groups=documents, cv=folds, method="predict_proba")[:, 1]
    sigma = math.sqrt((random + true + 1) / (12 * random * true))
    return {"auc": round(float(roc_auc_score(labels, scores)), 4), "sigma": round(sigma, 4), "rows": len(labels)}


def kinds_of(vocabulary: Vocabulary) -> Features:
    """Return for each piece 0 if it begins a word, 1 if it continues one, or a punctuation mark's code point."""
    kinds = vocabulary.is_continuation.astype(np.float32)
    for number, piece in enumerate(vocabulary.pieces):
        if len(piece) == 1 and unicodedata.category(piece)[0] in "PS":
            kinds[number] = ord(piece)
    return kinds


def features(rows: Rows, kinds: Features) -> tuple[Features, Features, Features]:
    """Return the lengths of A and B, and the kinds of A's and of B's first and last pieces; each [rows, 2]."""
    kinds_t = kinds[original_ids(rows)]
    starts, ends = rows.input_offsets[:-1].astype(np.int64), rows.input_offsets[1:].astype(np.int64)
    border = starts + rows.segment_a_length
    lengths = np.stack([border - starts - 2, ends - border - 1], axis=1).astype(np.float32)
    a_ends = np.stack([kinds_t[starts + 1], kinds_t[border - 2]], axis=1)
    b_ends = np.stack([kinds_t[border], kinds_t[ends - 2]], axis=1)
    return lengths, a_ends, b_ends


if __name__ == "__main__":
    main()
