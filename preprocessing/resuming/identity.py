"""The inputs that determine a data set's bytes, and how two data sets differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.errors import UserError
from configs.schema import TRAINED_ONLY, digest_of, settled_fields
from preprocessing.dataset import FORMAT_VERSION, InputEntry

_OTHER_FOLDER = "choose another data.dataset, or replace it with --overwrite"
_FILES_TO_NAME = 3  # of those that differ, in a message


@dataclass(frozen=True)
class Identity:
    """The inputs that determine a data set's bytes. Preparations with the same identity make the same bytes."""

    recipe: dict[str, Any]  # the [data] fields that determine bytes
    input_digest: str
    given_vocabulary: str | None  # SHA-256 of the vocabulary file; None: the vocabulary is trained

    format_version: int = FORMAT_VERSION
    item_numbers: tuple[int, ...] = ()  # of a data set that grew: they determine the order of its shards

    @property
    def digest(self) -> str:
        """The digest of an unfinished data set. A finished one has `data_set_digest`, which needs the vocabulary."""
        return self._digest(self.given_vocabulary)

    def data_set_digest(self, vocabulary_sha256: str) -> str:
        """Return the manifest's `digest`."""
        return self._digest(vocabulary_sha256)

    def _digest(self, vocabulary: str | None) -> str:
        content: dict[str, Any] = {"recipe": self.recipe, "input": self.input_digest, "vocabulary": vocabulary}
        if self.format_version > 1:  # the digests of version 1 do not cover it
            content["format_version"] = self.format_version
        if self.item_numbers:
            content["item_numbers"] = self.item_numbers
        return digest_of(content)

    @property
    def is_incremental(self) -> bool:
        """Whether files can be added to the input."""
        return bool(self.recipe.get("incremental"))

    def differences(self, recipe: dict[str, Any]) -> list[str]:
        """Return the recipe keys whose values differ, of those that take part in the rows."""
        keys = _differences(settled_fields(recipe), self.recipe, "data.")
        idle = [f"data.vocabulary.{name}" for name in TRAINED_ONLY] if self.given_vocabulary else []
        return [key for key in keys if key not in idle]


def input_differences(earlier: Sequence[InputEntry], now: Sequence[InputEntry]) -> list[str]:
    """Return how the input files differ, as phrases for a message; none if they are the same."""
    before = {(entry.corpus, entry.name): entry.sha256 for entry in earlier}
    after = {(entry.corpus, entry.name): entry.sha256 for entry in now}
    phrases = [
        f"{name} {'is new' if (corpus, name) not in before else 'has other content'}"
        for (corpus, name), sha256 in after.items()
        if before.get((corpus, name)) != sha256
    ]
    phrases += [f"{name} is missing" for corpus, name in before if (corpus, name) not in after]
    if len(phrases) > _FILES_TO_NAME:
        phrases[_FILES_TO_NAME:] = [f"{len(phrases) - _FILES_TO_NAME} more input files differ"]
    return phrases


def other_data_set(place: str, found: str, differing: Sequence[str]) -> UserError:
    """Return the error for a folder that holds the data set with the digest `found` instead of the requested one."""
    cause = f"holds another data set ({found[:12]}; difference: {', '.join(differing)})"
    return UserError(cause, place=place, fix=_OTHER_FOLDER)


def other_version(place: str, state: str, version: int) -> UserError:
    """Return the error for a data set of an earlier format version that would have to be completed."""
    cause = f"holds {state} data set of format version {version}, but this bertrain prepares version {FORMAT_VERSION}"
    return UserError(cause, place=place, fix=_OTHER_FOLDER)


def _differences(found: dict[str, Any], expected: dict[str, Any], prefix: str) -> list[str]:
    keys: list[str] = []
    for key in sorted({*found, *expected}):
        old, new = found.get(key), expected.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            keys += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys
