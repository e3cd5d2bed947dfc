"""A producer's mistakes: shards written anew with other rows, their digests and counts in the manifest put right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from preprocessing.dataset.figures import Split
from preprocessing.dataset.manifest import ShardEntry, Statistics, read_manifest, write_manifest
from preprocessing.dataset.shard import Rows, read_shard, write_shard


def writable(rows: Rows) -> Rows:
    """The same rows, which may be changed in place."""
    parts = vars(rows) | (vars(rows.provenance) if rows.provenance else {})
    copies = {name: np.array(part) for name, part in parts.items() if isinstance(part, np.ndarray)}
    own = {name: copies.pop(name) for name in vars(rows) if name in copies}
    provenance = dataclasses.replace(rows.provenance, **copies) if rows.provenance else None
    return dataclasses.replace(rows, **own, provenance=provenance)


def rewrite(
    folder: Path,
    change: Callable[[Rows], Rows | None],
    split: Split = "train",
    pass_number: int = 0,
    **statistics: object,
) -> list[ShardEntry]:
    """Change each shard of a split and pass, and the manifest's statistics with them; returns the new entries."""
    manifest = read_manifest(folder)
    entries = {}
    for shard in manifest.select(split, pass_number):
        rows = writable(read_shard(folder / shard.name))
        rows = change(rows) or rows
        with (folder / shard.name).open("wb") as stream:
            size, digest = write_shard(stream, rows, manifest.vocabulary.sha256)
        counts = {"rows": len(rows), "tokens": len(rows.input_ids), "masked_tokens": len(rows.masked_lm_ids)}
        entries[shard.name] = shard.model_copy(update={**counts, "bytes": size, "sha256": digest})
    shards = [entries.get(shard.name, shard) for shard in manifest.shards]
    stated = Statistics.model_validate({**manifest.statistics.model_dump(), **statistics})
    write_manifest(folder, manifest.model_copy(update={"shards": shards, "statistics": stated}))
    return list(entries.values())
