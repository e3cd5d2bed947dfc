"""A small data set of random rows, to try out a recipe before its data exists.

Word pieces follow Zipf's law, so that the model can learn a unigram distribution within a few steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from configs.schema import DataConfig, MaskingConfig, RowsConfig
from preprocessing.dataset import (
    SHARDS,
    IntArray,
    Manifest,
    Rows,
    ShardEntry,
    Split,
    Statistics,
    VocabularyEntry,
    add_shard,
    write_manifest,
)
from preprocessing.storage import store_at
from preprocessing.vocabulary import SPECIAL_TOKENS, Vocabulary, read_vocabulary

SHORTEST = 8
# These settings replace the recipe's: they make no difference for random rows.
FIXED_SETTINGS: dict[str, object] = {
    "dupe_factor": 1,
    "nsp_mode": "balanced",
    "mask_token_prob": 1.0,
    "random_token_prob": 0.0,
    "whole_word_masking": False,
    "mask_word_once": False,
    "span_masking": False,
    "provenance": False,
}
ROWS: dict[Split, int] = {"train": 2048, "held_out": 64}


def write_synthetic(folder: Path, data: DataConfig) -> Manifest:
    """Create `folder` and write a data set of one pass that fits `[data]`. Equal settings give equal bytes."""
    (folder / SHARDS).mkdir(parents=True)
    vocabulary = _vocabulary(data)
    vocabulary.write(folder / vocabulary.file)
    generator = np.random.default_rng(data.seed)
    rows = {split: _rows(generator, count, data, vocabulary) for split, count in ROWS.items()}
    sha256 = vocabulary.entry().sha256
    shards = [add_shard(store_at(folder), "synthetic", split, 0, of_split, sha256) for split, of_split in rows.items()]
    manifest = _manifest(data, vocabulary.entry(), shards, _statistics(rows["train"], vocabulary))
    write_manifest(folder, manifest)
    return manifest


def _vocabulary(data: DataConfig) -> Vocabulary:
    """Return the recipe's vocabulary if it names a file; otherwise a synthetic one of the configured size."""
    given = data.vocabulary
    if given.file:
        return read_vocabulary(Path(given.file), given, data.objective)
    words = (f"word{number}" for number in range(given.size - len(SPECIAL_TOKENS)))
    return Vocabulary((*SPECIAL_TOKENS, *words), given.lowercase)


def _rows(generator: np.random.Generator, count: int, data: RowsConfig, vocabulary: Vocabulary) -> Rows:
    entry = vocabulary.entry()
    lengths = np.full(count, data.max_seq_length)
    is_short = generator.random(count) < data.short_seq_prob
    lengths[is_short] = generator.integers(SHORTEST, data.max_seq_length + 1, is_short.sum())
    offsets = np.append(0, lengths.cumsum()).astype(np.int32)
    # Each segment has at least one token; under `none`, the row is a single segment.
    segment_a = lengths if data.objective == "none" else generator.integers(3, lengths - 2)
    ids = _zipf(generator, int(offsets[-1]), vocabulary.ordinary_ids)
    ids[offsets[:-1]], ids[offsets[:-1] + segment_a - 1], ids[offsets[1:] - 1] = (
        entry.cls_id,
        entry.sep_id,
        entry.sep_id,
    )
    positions = [_masked_positions(generator, length, a, data) for length, a in zip(lengths, segment_a, strict=True)]
    masked_offsets = np.cumsum([0, *map(len, positions)]).astype(np.int32)
    places = np.concatenate(positions) + np.repeat(offsets[:-1], np.diff(masked_offsets))
    originals = ids[places]
    ids[places] = entry.mask_id
    labels = generator.integers(0, 2, count) if data.objective != "none" else np.zeros(count)
    return Rows(
        input_ids=ids,
        input_offsets=offsets,
        segment_a_length=segment_a.astype(np.uint16),
        masked_lm_positions=np.concatenate(positions).astype(np.uint16),
        masked_lm_ids=originals,
        masked_offsets=masked_offsets,
        next_sentence_label=labels.astype(np.uint8),
    )


def _zipf(generator: np.random.Generator, count: int, ids: IntArray) -> IntArray:
    """Draw ids with frequencies proportional to 1 / rank."""
    ends = (1 / np.arange(1, len(ids) + 1)).cumsum()
    drawn: IntArray = ids[np.searchsorted(ends, generator.random(count) * ends[-1])]
    return drawn


def _masked_positions(generator: np.random.Generator, length: int, segment_a: int, data: MaskingConfig) -> IntArray:
    ordinary = np.setdiff1d(np.arange(1, length - 1), [segment_a - 1])
    target = max(1, round(data.masked_lm_prob * length))
    count = min(target, data.max_predictions_per_seq, len(ordinary))
    chosen: IntArray = np.sort(generator.choice(ordinary, count, replace=False))
    return chosen


def _statistics(rows: Rows, vocabulary: Vocabulary) -> Statistics:
    """Return the statistics over rows; those over documents are 0."""
    entry, ids = vocabulary.entry(), rows.input_ids.copy()
    row_starts = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets))
    ids[row_starts + rows.masked_lm_positions] = rows.masked_lm_ids
    token_counts = np.bincount(ids, minlength=len(vocabulary))
    token_counts[[entry.cls_id, entry.sep_id]] = 0
    return Statistics(
        documents=0,
        sentences=0,
        text_bytes=0,
        held_out_documents=0,
        random_next_pairs=int(rows.next_sentence_label.sum()),
        forced_random_pairs=0,
        drawn_targets=0,
        short_targets=0,
        length_histogram=np.bincount(np.diff(rows.input_offsets)).tolist(),
        token_counts=token_counts.tolist(),
    )


def _manifest(
    data: DataConfig, vocabulary: VocabularyEntry, shards: list[ShardEntry], statistics: Statistics
) -> Manifest:
    return Manifest(
        objective=data.objective,
        max_seq_length=data.max_seq_length,
        max_predictions_per_seq=data.max_predictions_per_seq,
        dupe_factor=1,
        recipe=data.model_copy(update=FIXED_SETTINGS).byte_fields(),
        digest="synthetic",
        input_digest="synthetic",
        vocabulary=vocabulary,
        shards=sorted(shards, key=lambda shard: shard.name),
        drops={},
        statistics=statistics,
    )
