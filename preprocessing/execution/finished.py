"""Find what earlier runs finished: the complete data set, all but damaged files, the vocabulary, or nothing.

This is determined once, before anything is made. The stages then do the remaining work, which they find by their files.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.dataset import (
    FORMAT_VERSION,
    MANIFEST,
    VOCABULARY,
    DamagedShardError,
    Manifest,
    check_shard,
    parse_manifest,
)
from preprocessing.execution.folder import WORK
from preprocessing.execution.group import GROUPS
from preprocessing.execution.identity import Identity, other_data_set, other_version
from preprocessing.storage import Store
from preprocessing.vocabulary import Vocabulary, stored_vocabulary

_VOCABULARY_RECORD = (
    f"{GROUPS}/vocabulary.json"  # the preparation that made the vocabulary, and the vocabulary's digest
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """The data set that an earlier run finished, if any."""

    store: Store
    manifest: Manifest | None = None
    damage: dict[str, str] = field(default_factory=dict)  # file name -> message, for each missing or damaged file

    def reopen(self) -> None:
        """Mark a damaged data set as unfinished: remove its manifest and the side files of the damaged groups."""
        if self.manifest is None:
            return
        for message in self.damage.values():
            logger.warning("%s; making it again", message)
        self.store.remove(MANIFEST)
        for shard in self.manifest.shards:
            if shard.name in self.damage:
                self.store.remove(f"{GROUPS}/{shard.group}.json")


def find_finished(store: Store, identity: Identity, *, overwrite: bool = False) -> Finished:
    """Return what is in the data set's folder. Reads and checks all files of a finished data set.

    Raises `UserError` for a folder that holds other files and no data set. Without `overwrite`, also raises for a
    finished data set of another identity, and for a damaged one of an earlier format version, whose missing parts this
    version cannot make; with it, nothing counts as finished.
    """
    content = store.read(MANIFEST)
    if not store.is_empty() and store.below(WORK).is_empty() and not _is_manifest(content):
        fix = "set data.dataset to a new or empty folder"
        raise UserError("the folder holds other files and no data set", place=store.place, fix=fix)
    if overwrite or content is None:
        return Finished(store)
    manifest = parse_manifest(content, f"{store.place}/{MANIFEST}")
    identity = replace(identity, format_version=manifest.format_version)
    expected = identity.data_set_digest(identity.given_vocabulary or manifest.vocabulary.sha256)
    if manifest.digest != expected:
        differing = identity.differences(manifest.recipe)
        if manifest.input_digest != identity.input_digest:
            differing.append("the input files")
        raise other_data_set(store.place, manifest.digest, expected, differing or ["the vocabulary"])
    damage = _damage(store, manifest)
    if damage and manifest.format_version != FORMAT_VERSION:
        raise other_version(store.place, f"a damaged ({min(damage)})", manifest.format_version)
    return Finished(store, manifest, damage)


def find_vocabulary(store: Store, identity: Identity, config: VocabularyConfig) -> Vocabulary | None:
    """Return the vocabulary that an earlier run of the same identity stored, or None."""
    sha256 = store.sha256(VOCABULARY)
    if sha256 is None or store.read(_VOCABULARY_RECORD) != _record(identity, sha256):
        return None
    return stored_vocabulary(store, config)


def keep_vocabulary(store: Store, identity: Identity, vocabulary: Vocabulary) -> None:
    """Store the vocabulary in the data set's folder, for this run and later ones."""
    for name, content in (
        (VOCABULARY, vocabulary.content()),
        (_VOCABULARY_RECORD, _record(identity, vocabulary.entry().sha256)),
    ):
        with store.write(name) as stream:
            stream.write(content)


def _record(identity: Identity, sha256: str) -> bytes:
    return json.dumps({"job": identity.digest, "sha256": sha256}).encode()


def _damage(store: Store, manifest: Manifest) -> dict[str, str]:
    found = {}
    for shard in manifest.shards:
        try:
            check_shard(store, shard)
        except DamagedShardError as error:
            found[shard.name] = f"{error.place}: {error.cause}"
    if store.sha256(VOCABULARY) != manifest.vocabulary.sha256:
        found[VOCABULARY] = f"{store.place}/{VOCABULARY}: missing or damaged"
    return found


def _is_manifest(content: bytes | None) -> bool:
    """Return whether the content looks like a manifest of any format version."""
    try:
        return content is not None and "format_version" in json.loads(content)
    except (ValueError, TypeError):
        return False
