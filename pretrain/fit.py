"""Whether a data set is one that a recipe can train on. Imports no torch: the launcher asks before it starts ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from configs.files import sha256_of_file
from configs.schema import DataConfig
from preprocessing.contract import VOCABULARY, Manifest
from preprocessing.vocabulary import Vocabulary


def check_fits(manifest: Manifest, data: DataConfig) -> None:
    """Raise `UserError` unless the data set that lies in `data.dataset` is one that this recipe can train on."""
    prepare = "prepare it again with this recipe, or name another folder in data.dataset"

    def refuse(cause: str, mend: str = prepare) -> None:
        raise UserError(cause, place=data.dataset, mend=mend)

    if manifest.objective != data.objective:
        refuse(f"the data set is for the objective `{manifest.objective}`, the recipe says `{data.objective}`")
    if manifest.max_seq_length > data.max_seq_length:
        refuse(
            f"the data set has rows of up to {manifest.max_seq_length} tokens, the recipe takes {data.max_seq_length}",
            "raise data.max_seq_length, or prepare the data set again",
        )
    _check_vocabulary(manifest, data, refuse)
    for number in range(manifest.dupe_factor):
        if not sum(entry.rows for entry in manifest.select("train", number)):
            refuse(f"pass {number} of {manifest.dupe_factor} has no training rows", "prepare it from more text")


def _check_vocabulary(manifest: Manifest, data: DataConfig, refuse: Callable[[str], None]) -> None:
    ours, theirs = data.vocabulary, manifest.vocabulary
    if theirs.lowercase != ours.lowercase:
        cased = {True: "lower-cased", False: "cased"}
        refuse(f"the data set's vocabulary is {cased[theirs.lowercase]}, the recipe's {cased[ours.lowercase]}")
    if ours.file and Path(ours.file).is_file():  # it need not be where the training runs
        if Vocabulary.read(Path(ours.file), ours.lowercase).entry().sha256 != theirs.sha256:
            refuse(f"the data set's vocabulary is not that of {ours.file}")
    elif ours.file is None and theirs.size > ours.size:
        refuse(f"the data set's vocabulary has {theirs.size} entries, the recipe's at most {ours.size}")
    path = Path(data.dataset) / VOCABULARY
    if not path.is_file() or sha256_of_file(path) != theirs.sha256:
        refuse(f"{VOCABULARY} is missing or not the vocabulary that the rows were made with")
