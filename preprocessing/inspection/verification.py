"""Verify that a data set follows the data format and its recipe. Each failure names file, row, column, value and rule.

The digest of a shard is checked first, because Arrow trusts the bytes that it reads. Then follow the counts and the
rules about every row. Last come the totals: exact where the manifest states them, and within statistical bounds where
the recipe states probabilities (`statistical_tests`). All checks are a few array operations over all tokens, so they
cost little more than reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset import (
    MANIFEST,
    SHARDS,
    DamagedShardError,
    Manifest,
    Rows,
    ShardEntry,
    local_shard,
    read_manifest,
    read_shard,
)
from preprocessing.inspection.coverage_rules import CoverageRules
from preprocessing.inspection.document_rules import DocumentRules
from preprocessing.inspection.mask_rules import mask_rules
from preprocessing.inspection.provenance_rules import PROVENANCE_RULES
from preprocessing.inspection.row_rules import SHAPE_RULES, TOKEN_RULES, original_ids
from preprocessing.inspection.shard_checks import ALL_SHARDS, Failure, break_rules, check_file
from preprocessing.inspection.statistical_tests import (
    SIGMAS,
    Counts,
    count,
    deviations,
    kinds_of_pieces,
    share_deviation,
)
from preprocessing.inspection.word_draws import draws_words
from preprocessing.storage import Store, store_at
from preprocessing.vocabulary import Vocabulary, continues_word

_CAUSES_OF_COMPARISON: dict[str, Callable[[DataConfig], bool]] = {  # and whether a recipe requests the comparison
    "exact_duplicate": lambda config: config.duplicates != "none",
    "near_duplicate": lambda config: config.duplicates == "near",
    "boilerplate_line": lambda config: config.boilerplate_documents is not None,
    "boilerplate_removed": lambda config: config.boilerplate_documents is not None,
    "only_boilerplate": lambda config: config.boilerplate_documents is not None,
}
_FIELDS_OF_BOTH = ("objective", "max_seq_length", "max_predictions_per_seq", "dupe_factor")


def verify(place: str | Path, done: Callable[[ShardEntry], None] = lambda shard: None) -> Iterator[Failure]:
    """Yield every failure of the data set in a folder or at a URL. A data set without failures is correct.

    Calls `done` with each shard after it is checked. Raises `UserError` when there is no bertrain manifest. Shards at a
    URL are downloaded one at a time.
    """
    manifest = read_manifest(place)
    store = store_at(place)
    config = _recipe_of(store, manifest)
    yield from _check_recipe(manifest, config)
    yield from check_shard_list(store, manifest)
    of_vocabulary = list(check_vocabulary(store, manifest))
    yield from of_vocabulary
    if of_vocabulary:  # the rows cannot be checked without the vocabulary
        return
    verification = Verification(store, manifest, config)
    for shard in manifest.shards:
        yield from verification.check_shard(shard)
        done(shard)
    yield from verification.check_sums()


def check_vocabulary(store: Store, manifest: Manifest) -> Iterator[Failure]:
    """Check that the vocabulary's file is the one that the manifest records."""
    file = manifest.vocabulary.file
    sha256 = store.sha256(file)
    if sha256 is None:
        yield Failure(file, "the file exists")
        return
    if sha256 != manifest.vocabulary.sha256:
        yield Failure(file, "its SHA-256 matches the manifest")
        return
    if Vocabulary.of_data_set(store, manifest.vocabulary).entry() != manifest.vocabulary:
        yield Failure(file, "its size and special tokens match the manifest")


def check_shard_list(store: Store, manifest: Manifest) -> Iterator[Failure]:
    """Check that shard names are sorted, unique and in the folder, that each pass has rows, and no file is unlisted."""
    names = [shard.name for shard in manifest.shards]
    if names != sorted(set(names)):
        yield Failure("manifest.json", "shards are listed once, sorted by name")
    for number in range(manifest.dupe_factor):
        if not any(shard.rows for shard in manifest.select("train", number)):
            yield Failure("manifest.json", f"pass {number} has rows to train on")
    for name in sorted(store.below(SHARDS).names()):
        if PurePosixPath(name).match("[!.]*.arrow") and f"{SHARDS}/{name}" not in names:
            yield Failure(f"{SHARDS}/{name}", "every file is listed in the manifest")


class Verification:
    """Verifies the shards of one data set one after another, then their totals."""

    def __init__(self, store: Store, manifest: Manifest, config: DataConfig) -> None:
        self._store = store
        self._manifest = manifest
        self._config = config
        self._vocabulary = Vocabulary.of_data_set(store, manifest.vocabulary)
        self._is_ordinary = np.isin(np.arange(len(self._vocabulary)), self._vocabulary.ordinary_ids)
        rules = (*TOKEN_RULES, *mask_rules(config, self._vocabulary))
        self._rules = (*rules, *PROVENANCE_RULES) if config.provenance else rules
        self._document_rules = DocumentRules()
        self._coverage_rules = CoverageRules()
        self._kinds = kinds_of_pieces(self._vocabulary) if manifest.format_version > 1 else None
        self._is_complete = True  # all shards could be counted
        self._counts: Counts | None = None  # of all shards
        # Counted over pass 0 of the training split, like the manifest's statistics:
        self._lengths = np.zeros(manifest.max_seq_length + 1, np.int64)  # rows by length in tokens
        self._tokens = np.zeros(manifest.vocabulary.size, np.int64)  # original tokens by id
        self._labelled_1 = 0
        self._coins = 0  # rows whose label is random

    def check_shard(self, shard: ShardEntry) -> Iterator[Failure]:
        """Check one shard: its digest, types and counts, the rules about each row, and the statistical tests."""
        rows = None
        try:
            with local_shard(self._store, shard) as path:
                failures = list(check_file(path, shard, self._manifest, self._config.provenance))
                rows = None if failures else read_shard(path)
        except DamagedShardError as error:
            failures = [Failure(shard.name, error.cause)]
        if rows is not None:
            of_shape = list(break_rules(SHAPE_RULES, rows, shard, self._manifest))
            failures = of_shape or list(break_rules(self._rules, rows, shard, self._manifest))
        yield from failures
        if rows is None or failures:
            self._is_complete = False
            return
        counts = count(
            rows,
            self._config,
            self._manifest.vocabulary.mask_id,
            self._is_ordinary,
            coins=self._coins_of(rows, shard),
            kinds=self._kinds,
            continues_t=continues_word(original_ids(rows), self._vocabulary, self._config)
            if draws_words(self._config)
            else None,
        )
        yield from self._deviations(shard.name, counts, len(self._manifest.shards))
        self._counts = counts if self._counts is None else self._counts + counts
        self._document_rules.add(rows, shard)
        self._coverage_rules.add(rows, shard)
        if (shard.split, shard.pass_number) == ("train", 0):
            self._add(rows)

    def check_sums(self) -> Iterator[Failure]:
        """Check the totals of all shards. Checks nothing if a shard could not be counted."""
        if not self._is_complete or self._counts is None:
            return
        yield from self._deviations(ALL_SHARDS, self._counts, 1)
        yield from self._check_statistics()
        yield from self._document_rules.check(self._config)
        yield from self._coverage_rules.check(self._manifest)

    def _deviations(self, file: str, counts: Counts, tests: int) -> Iterator[Failure]:
        ordinary_ids = len(self._vocabulary.ordinary_ids)
        for deviation in deviations(counts, self._config, ordinary_ids, tests):
            yield Failure(file, deviation.rule, value=deviation.value)

    def _check_statistics(self) -> Iterator[Failure]:
        """Check that the manifest's statistics match the rows."""
        statistics = self._manifest.statistics
        for name, found in (("length_histogram", self._lengths), ("token_counts", self._tokens)):
            stated = np.array(getattr(statistics, name), np.int64)
            if len(stated) != len(found):
                yield Failure(MANIFEST, f"statistics.{name} matches the rows", value=f"{len(stated)} counts")
            elif (stated != found).any():
                place = int(np.flatnonzero(stated != found)[0])
                value = f"{stated[place]:,} at {place}, but the rows have {found[place]:,}"
                yield Failure(MANIFEST, f"statistics.{name} matches the rows", value=value)
        if statistics.random_next_pairs != self._labelled_1:
            value = f"{statistics.random_next_pairs:,}, but {self._labelled_1:,} rows are labelled 1"
            yield Failure(MANIFEST, "statistics.random_next_pairs is the number of rows labelled 1", value=value)
        forced = statistics.forced_random_pairs
        drawn = [
            share_deviation(
                statistics.short_targets, statistics.drawn_targets, self._config.short_seq_prob, SIGMAS,
                "the fraction of shorter target lengths is short_seq_prob",
            ),
            share_deviation(
                self._labelled_1 - forced, self._coins - forced, 0.5, SIGMAS,
                "half of the rows whose chunk has two sentences are labelled 1",
            ) if self._config.objective == "nsp" and self._config.nsp_mode == "reference" else (),
        ]  # fmt: skip
        for deviation in (one for of_kind in drawn for one in of_kind):
            yield Failure(MANIFEST, deviation.rule, value=deviation.value)

    def _coins_of(self, rows: Rows, shard: ShardEntry) -> int:
        """Return the number of rows whose labels are random."""
        is_forced = self._config.objective == "nsp" and self._config.nsp_mode == "balanced"
        return (len(rows) - is_forced * shard.forced) * self._has_coins(rows)

    def _has_coins(self, rows: Rows) -> bool:
        """Return whether the labels are random. They are all 0 in a group whose only document has no partner."""
        may_be_alone = "no_other_document" in self._manifest.drops
        return self._config.objective != "none" and (not may_be_alone or bool(rows.next_sentence_label.any()))

    def _add(self, rows: Rows) -> None:
        vocabulary = self._manifest.vocabulary
        self._lengths += np.bincount(np.diff(rows.input_offsets), minlength=len(self._lengths))
        self._tokens += np.bincount(original_ids(rows), minlength=len(self._tokens))
        self._tokens[[vocabulary.cls_id, vocabulary.sep_id]] = 0
        self._labelled_1 += int(rows.next_sentence_label.sum())
        self._coins += len(rows) if self._has_coins(rows) else 0


def _recipe_of(store: Store, manifest: Manifest) -> DataConfig:
    """Return the recipe of the data set. The manifest's own fields take precedence."""
    try:
        recipe = DataConfig.model_validate({"duplicates": "none", **manifest.recipe})  # older recipes lack this field
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"its recipe is not valid in this version ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        fix = "prepare it again: `bertrain prepare RECIPE --overwrite`"
        raise UserError(cause, place=f"{store.place}/{MANIFEST}", fix=fix) from error
    return recipe.model_copy(update={name: getattr(manifest, name) for name in _FIELDS_OF_BOTH})


def _check_recipe(manifest: Manifest, config: DataConfig) -> Iterator[Failure]:
    for name in _FIELDS_OF_BOTH:
        if name in manifest.recipe and manifest.recipe[name] != getattr(config, name):
            value = f"{getattr(config, name)}, not {manifest.recipe[name]}"
            yield Failure(MANIFEST, f"{name} matches its recipe", value=value)
    for cause, may_be in _CAUSES_OF_COMPARISON.items():
        if manifest.drops.get(cause, 0) and not may_be(config):
            value = f"{manifest.drops[cause]:,}"
            yield Failure(MANIFEST, f"drops.{cause} is counted only if the recipe requests it", value=value)
