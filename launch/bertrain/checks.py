"""Checks of data sets, and their pairs as word pieces."""

from __future__ import annotations

from pathlib import Path

import preprocessing.inspection
from bertrain.dataset import Dataset
from preprocessing.dataset import Split
from preprocessing.inspection import DecodedPair, Failure, decode_pairs


def verify(dataset: Dataset | str | Path) -> list[Failure]:
    """Check digests, counts, every rule of the format on every row, and the statistics of masks and labels.

    Returns:
        The failures, each with file, row, column, value and the rule that is broken; an empty list if there are none.

    Raises:
        UserError: there is no data set, or it is not finished.

    Examples:
        >>> bertrain.verify("datasets/demo")
        []
    """
    return list(preprocessing.inspection.verify(_place(dataset)))


def inspect(
    dataset: Dataset | str | Path, *, split: Split = "train", pass_number: int = 0, rows: int = 5
) -> list[DecodedPair]:
    """Decode the first `rows` pairs of a split and pass.

    Returns:
        Pairs of `segment_a` and `segment_b`, tuples of tokens with `piece`, and at masked positions `original` and
        `change` ("masked", "kept" or "replaced"). `str(pair)` shows a masked position as `[piece←original]`.

    Raises:
        UserError: there is no such pass, or a shard is damaged.

    Examples:
        >>> print(bertrain.inspect("datasets/demo", rows=1)[0])
        [CLS] the [[MASK]←cat] sat [SEP] it [purred←purred] [SEP]
    """
    return list(decode_pairs(_place(dataset), split, pass_number, rows))


def _place(dataset: Dataset | str | Path) -> str:
    return dataset.place if isinstance(dataset, Dataset) else str(dataset)
