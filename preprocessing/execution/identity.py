"""What a data set is made of, and whether what stands in its place is made of the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from configs.errors import UserError
from configs.schema import digest_of
from preprocessing.dataset import MANIFEST, VOCABULARY, DamagedShardError, Manifest, check_shard, parse_manifest
from preprocessing.execution.group import GROUPS
from preprocessing.storage import Store


@dataclass(frozen=True)
class Identity:
    """What a data set is made of. Whoever has the same job makes the same bytes."""

    recipe: dict[str, Any]  # the [data] fields that determine bytes
    input_digest: str
    given_vocabulary: str | None  # SHA-256 of a vocabulary that is given; None: it is trained

    @property
    def digest(self) -> str:
        """Names an unfinished data set; the manifest's digest, once the vocabulary is there, a finished one."""
        return digest_of({"recipe": self.recipe, "input": self.input_digest, "vocabulary": self.given_vocabulary})

    def data_set_digest(self, vocabulary_sha256: str) -> str:
        """The manifest's `digest`."""
        return digest_of({"recipe": self.recipe, "input": self.input_digest, "vocabulary": vocabulary_sha256})


def finished_data_set(store: Store, job: Identity) -> Manifest | None:
    """The manifest that is there, or None when there is none. Raises `UserError` when it is that of another job."""
    content = store.read(MANIFEST)
    if content is None:
        return None
    manifest = parse_manifest(content, f"{store.place}/{MANIFEST}")
    expected = job.data_set_digest(job.given_vocabulary or manifest.vocabulary.sha256)
    if manifest.digest != expected:
        differing = _differences(manifest.recipe, job.recipe)
        if manifest.input_digest != job.input_digest:
            differing.append("the input files")
        raise _other_data_set(store, manifest.digest, expected, differing or ["the vocabulary"])
    return manifest


def damage(store: Store, manifest: Manifest) -> dict[str, str]:
    """What is missing or damaged of a finished data set: a message a file, by its name. Reads all of it."""
    found = {}
    for shard in manifest.shards:
        try:
            check_shard(store, shard)
        except DamagedShardError as error:
            found[shard.name] = f"{error.place}: {error.cause}"
    if store.sha256(VOCABULARY) != manifest.vocabulary.sha256:
        found[VOCABULARY] = f"{store.place}/{VOCABULARY}: missing or damaged"
    return found


def withdraw(store: Store, manifest: Manifest, damaged: Collection[str]) -> None:
    """The data set is finished no more, nor are the groups of its damaged files."""
    store.remove(MANIFEST)
    for shard in manifest.shards:
        if shard.name in damaged:
            store.remove(f"{GROUPS}/{shard.group}.json")


def refuse_other(store: Store, digest: str, recipe: dict[str, Any], job: Identity) -> None:
    """Raise `UserError` unless the unfinished data set of this digest and recipe is the job's."""
    if digest != job.digest:
        differing = _differences(recipe, job.recipe) or ["the input files or the vocabulary"]
        raise _other_data_set(store, digest, job.digest, differing)


def _other_data_set(store: Store, found: str, expected: str, differing: list[str]) -> UserError:
    what = ", ".join(differing)
    cause = f"holds another data set ({found[:12]}, where this recipe makes {expected[:12]}; what differs: {what})"
    return UserError(cause, place=store.place, fix="choose another data.dataset, or replace it with --overwrite")


def _differences(found: dict[str, Any], expected: dict[str, Any], prefix: str = "data.") -> list[str]:
    """Keys of the recipe whose values differ."""
    keys: list[str] = []
    for key in sorted({*found, *expected}):
        old, new = found.get(key), expected.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            keys += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys
