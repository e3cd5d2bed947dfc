"""Find what earlier runs finished: the complete data set, all but damaged files, the vocabulary, or nothing.

This is determined once, before anything is made. The stages then do the remaining work, which they find by their files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES
from configs.schema import VocabularyConfig
from preprocessing.dataset import (
    FORMAT_VERSION,
    MANIFEST,
    SHARDS,
    DamagedShardError,
    Manifest,
    check_shard,
    parse_manifest,
    vocabulary_file,
)
from preprocessing.documents import Plan, WorkItem
from preprocessing.resuming.growth import has_grown, numbers_beside, renumbered
from preprocessing.resuming.identity import Identity, input_differences, other_data_set, other_version
from preprocessing.resuming.parts import GROUPS, VOCABULARY_RECORD, WORK
from preprocessing.storage import Store
from preprocessing.vocabulary import Vocabulary, stored_vocabulary

_SHARD = re.compile(r"[0-9]{5,}\.[0-9]{4,}[-.].*\.arrow")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """The data set that an earlier run finished, if any."""

    store: Store
    manifest: Manifest | None = None
    damage: dict[str, str] = field(default_factory=dict)  # file name -> message, for each missing or damaged file
    grows: bool = False  # files were added to its input

    @property
    def records_content(self) -> bool:
        """Whether its identity covers the content of the input files; format 1 knows their names and sizes only."""
        return self.manifest is None or self.manifest.format_version > 1

    def checked(self, identity: Identity, plan: Plan) -> Finished:
        """Return the data set with its damage, after all files were read that changed since it was finished.

        Raises `UserError` if it was made from other input files than `plan` describes, unless the recipe lets it grow
        and files were only added; and for a damaged one of an earlier format version, whose missing parts this version
        cannot make.
        """
        if self.manifest is None:
            return self
        version = self.manifest.format_version
        recipe, numbers = self.manifest.recipe, tuple(self.manifest.item_numbers)  # an equal recipe, as it was stated
        as_made = replace(identity, recipe=recipe, format_version=version, item_numbers=numbers)
        is_same = self.manifest.digest == as_made.data_set_digest(self.manifest.vocabulary.sha256)
        grows = not is_same and identity.is_incremental and has_grown(self.manifest.inputs, plan.inputs)
        if not is_same and not grows:
            differing = input_differences(self.manifest.inputs, plan.inputs) if self.records_content else []
            raise other_data_set(self.store.place, self.manifest.digest, differing or ["the input files"])
        damage = _damage(self.store, self.manifest)
        if damage and version != FORMAT_VERSION:
            raise other_version(self.store.place, f"a damaged ({min(damage)})", version)
        return replace(self, damage=damage, grows=grows)

    @property
    def is_complete(self) -> bool:
        """Whether nothing remains to be done."""
        return self.manifest is not None and not self.damage and not self.grows

    def numbered(self, plan: Plan, key_of: Callable[[WorkItem], str]) -> Plan:
        """Return the plan with numbers under which its groups do not replace groups of other text."""
        if self.grows:
            return renumbered(plan, numbers_beside(self.store, plan, key_of))
        numbers = self.manifest.item_numbers if self.manifest else []
        return renumbered(plan, numbers) if numbers else plan

    def own_vocabulary(self, config: VocabularyConfig) -> Vocabulary | None:
        """Return the vocabulary of a data set that grows, or None for any other.

        Raises `UserError` if it is missing or damaged.
        """
        if self.manifest is None or not self.grows:
            return None
        file = self.manifest.vocabulary.file
        vocabulary = stored_vocabulary(self.store, config) if file not in self.damage else None
        if vocabulary is None:
            fix = "restore the file, or prepare the data set anew with --overwrite"
            raise UserError("the vocabulary is missing or damaged", place=f"{self.store.place}/{file}", fix=fix)
        return vocabulary

    def reopen(self, *, incremental: bool) -> None:
        """Remove the side files of damaged groups, and the manifest, which marks the data set as finished.

        The manifest of an incremental data set stays until the next one replaces it, since its shards stay too.
        """
        if self.manifest is None:
            return
        for message in self.damage.values():
            logger.warning("%s; making it again", message)
        if not incremental:
            self.store.remove(MANIFEST)
        for shard in self.manifest.shards:
            if shard.name in self.damage:
                self.store.remove(f"{GROUPS}/{shard.group}.json")


def find_finished(store: Store, identity: Identity, *, overwrite: bool = False) -> Finished:
    """Return the finished data set in the folder, if there is one. Its input and its files are not checked yet.

    Raises `UserError` for a folder that holds other files and no data set. Without `overwrite`, also raises for a
    finished data set of another recipe or vocabulary; with it, nothing counts as finished, and a manifest beside shards
    can be damaged.
    """
    content = store.read(MANIFEST)
    is_ours = _is_manifest(content) or (overwrite and _holds_shards(store))
    if not store.is_empty() and store.below(WORK).is_empty() and not is_ours:
        fix = "set data.dataset to a new or empty folder"
        raise UserError("the folder holds other files and no data set", place=store.place, fix=fix)
    if overwrite or content is None:
        return Finished(store)
    manifest = parse_manifest(content, f"{store.place}/{MANIFEST}")
    differing = identity.differences(manifest.recipe)
    if identity.given_vocabulary not in (None, manifest.vocabulary.sha256):
        differing.append("the vocabulary")
    if differing:
        raise other_data_set(store.place, manifest.digest, differing)
    return Finished(store, manifest)


def find_vocabulary(store: Store, identity: Identity, config: VocabularyConfig) -> Vocabulary | None:
    """Return the vocabulary that an earlier run of the same identity stored, or None."""
    content = store.read(vocabulary_file(config), MOST_MODEL_BYTES)
    if content is None or store.read(VOCABULARY_RECORD) != _record(identity, hashlib.sha256(content).hexdigest()):
        return None
    return stored_vocabulary(store, config)


def keep_vocabulary(store: Store, identity: Identity, vocabulary: Vocabulary) -> None:
    """Store the vocabulary in the data set's folder: for this run, and if it was trained, for later ones."""
    _write(store, vocabulary.file, vocabulary.content())
    if identity.given_vocabulary is None:
        _write(store, VOCABULARY_RECORD, _record(identity, vocabulary.entry().sha256))
    else:
        store.remove(VOCABULARY_RECORD)


def _write(store: Store, name: str, content: bytes) -> None:
    with store.write(name) as stream:
        stream.write(content)


def _record(identity: Identity, sha256: str) -> bytes:
    return json.dumps({"job": identity.digest, "sha256": sha256}).encode()


def _damage(store: Store, manifest: Manifest) -> dict[str, str]:
    stamp = store.stamp(MANIFEST)  # it is written last, when all shards are right
    found = {}
    for shard in manifest.shards:
        try:
            check_shard(store, shard, stamp.changed_ns if stamp else None)
        except DamagedShardError as error:
            found[shard.name] = f"{error.place}: {error.cause}"
    vocabulary = manifest.vocabulary
    if store.sha256(vocabulary.file) != vocabulary.sha256:
        found[vocabulary.file] = f"{store.place}/{vocabulary.file}: missing or damaged"
    return found


def _holds_shards(store: Store) -> bool:
    """Return whether there are shards and nothing else in their folder, as beside a damaged manifest."""
    names = store.below(SHARDS).names()
    return bool(names) and all(_SHARD.fullmatch(name) for name in names)


def _is_manifest(content: bytes | None) -> bool:
    """Return whether the content looks like a manifest of any format version."""
    try:
        return content is not None and "format_version" in json.loads(content)
    except (ValueError, TypeError):
        return False
