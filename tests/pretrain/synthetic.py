"""A data set of random rows, written with preprocessing.dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from preprocessing.dataset.figures import Split
from preprocessing.dataset.manifest import (
    SHARDS,
    VOCABULARY,
    Manifest,
    ShardEntry,
    Statistics,
    VocabularyEntry,
    write_manifest,
)
from preprocessing.dataset.shard import Provenance, Rows, token_dtype, write_shard

PAD, UNK, CLS, SEP, MASK, FIRST_ORDINARY = range(6)


def random_rows(
    generator: np.random.Generator, count: int, *, vocabulary_size: int, max_seq_length: int, full_share: float = 0.9
) -> Rows:
    """Rows `[CLS] A [SEP] B [SEP]` of random tokens; `full_share` of maximum length; 15 % masked."""
    lengths = generator.integers(8, max_seq_length + 1, count)
    lengths[generator.random(count) < full_share] = max_seq_length
    offsets = np.append(0, lengths.cumsum()).astype(np.int32)
    segment_a = generator.integers(3, lengths - 3)
    ids = generator.integers(FIRST_ORDINARY, vocabulary_size, offsets[-1]).astype(token_dtype(vocabulary_size))
    ids[offsets[:-1]], ids[offsets[:-1] + segment_a - 1], ids[offsets[1:] - 1] = CLS, SEP, SEP
    masked = np.maximum(1, np.round(0.15 * lengths)).astype(np.int64)
    masked_offsets = np.append(0, masked.cumsum()).astype(np.int32)
    # Even steps from 1 on, and for the token before [CLS] of B nothing is masked: only order and range matter here.
    nth = np.arange(masked_offsets[-1]) - np.repeat(masked_offsets[:-1], masked)
    positions = (1 + nth * np.repeat((lengths - 2) // masked, masked)).astype(np.uint16)
    places = np.repeat(offsets[:-1], masked) + positions
    originals = ids[places].copy()
    ids[places] = MASK
    return Rows(
        input_ids=ids,
        input_offsets=offsets,
        segment_a_length=segment_a.astype(np.uint16),
        masked_lm_positions=positions,
        masked_lm_ids=originals,
        masked_offsets=masked_offsets,
        next_sentence_label=generator.integers(0, 2, count).astype(np.uint8),
    )


def write_dataset(
    folder: Path,
    train: Sequence[Sequence[int]],
    held_out: Sequence[int] = (),
    *,
    vocabulary_size: int = 100,
    max_seq_length: int = 32,
    full_share: float = 0.9,
    seed: int = 0,
    provenance: bool = False,
) -> Manifest:
    """Write a data set; `train[p][s]` and `held_out[s]` are the rows of the s-th shard (of pass p, of pass 0).

    Its provenance columns, if any, are all 0. The function is long because it names every field of a manifest.
    """
    (folder / SHARDS).mkdir(parents=True)
    vocabulary = "".join(f"piece{number}\n" for number in range(vocabulary_size)).encode()
    (folder / VOCABULARY).write_bytes(vocabulary)
    generator = np.random.default_rng(seed)
    wanted: list[tuple[Split, int, int, int]] = [("held_out", 0, *pair) for pair in enumerate(held_out)]
    wanted += [("train", number, *pair) for number, counts in enumerate(train) for pair in enumerate(counts)]
    shards, token_counts = [], np.zeros(vocabulary_size, np.int64)
    for split, pass_number, group, count in wanted:
        rows = random_rows(
            generator,
            count,
            vocabulary_size=vocabulary_size,
            max_seq_length=max_seq_length,
            full_share=full_share,
        )
        if provenance:
            segment = (np.zeros(count, np.uint64), np.zeros(count, np.uint32), np.zeros(count, np.uint16))
            rows = replace(rows, provenance=Provenance(*segment, *segment))
        name = f"{SHARDS}/{group:05d}.0000-p{pass_number:02d}-{split}.arrow"
        with (folder / name).open("wb") as stream:
            size, sha256 = write_shard(stream, rows, hashlib.sha256(vocabulary).hexdigest())
        token_counts += np.bincount(rows.input_ids, minlength=vocabulary_size)
        shards.append(
            ShardEntry(
                name=name,
                group=f"{group:05d}.0000",
                split=split,
                pass_number=pass_number,
                rows=count,
                tokens=len(rows.input_ids),
                masked_tokens=len(rows.masked_lm_ids),
                bytes=size,
                sha256=sha256,
            )
        )
    manifest = Manifest(
        objective="nsp",
        max_seq_length=max_seq_length,
        max_predictions_per_seq=20,
        dupe_factor=len(train),
        recipe={},
        digest="synthetic",
        input_digest="synthetic",
        vocabulary=VocabularyEntry(
            sha256=hashlib.sha256(vocabulary).hexdigest(),
            size=vocabulary_size,
            lowercase=True,
            pad_id=PAD,
            unk_id=UNK,
            cls_id=CLS,
            sep_id=SEP,
            mask_id=MASK,
        ),
        shards=sorted(shards, key=lambda shard: shard.name),
        drops={},
        statistics=Statistics(
            documents=0,
            sentences=0,
            text_bytes=0,
            held_out_documents=0,
            random_next_pairs=0,
            forced_random_pairs=0,
            drawn_targets=0,
            short_targets=0,
            length_histogram=[],
            token_counts=token_counts.tolist(),
        ),
    )
    write_manifest(folder, manifest)
    return manifest
