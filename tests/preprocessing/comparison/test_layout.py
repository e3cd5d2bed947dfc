"""The division of the comparison: complete, in order, and limited for corpora of any size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from preprocessing.comparison.layout import Source, lay_out, sources_of
from preprocessing.storage.local_store import LocalStore


@pytest.fixture(autouse=True)
def _without_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small files are written."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def many(count: int, documents: int, lines: int = 0) -> list[Source]:
    return [Source(f"fingerprints-{n}", f"drops-{n}", documents, lines) for n in range(count)]


@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 5], [3, 100_000, 1, 0, 7], [1] * 50_000])
def test_blocks_hold_all_sources_in_order(tmp_path: Path, sizes: list[int]) -> None:
    work = LocalStore(tmp_path)
    sources = [Source(f"f{n}", f"d{n}", size, size) for n, size in enumerate(sizes)]
    layout = lay_out(sources, work)
    files = work.below(layout.folder)
    blocks = [sources_of(files, block) for block in range(layout.blocks)]
    assert [source for block in blocks for source in block] == sources
    assert [sum(source.documents for source in block) for block in blocks] == [
        layout.documents(block) for block in range(layout.blocks)
    ]
    assert layout.starts[-1] == sum(sizes)


@pytest.mark.parametrize(
    ("count", "documents", "blocks", "parts", "line_parts"),
    [
        (10, 100, 1, 1, 1),
        (64, 10_000, 16, 16, 16),  # as many as keep several workers busy
        (1_000, 100_000, 1_000, 48, 239),
        (8_192, 7_200_000, 4_096, 4_096, 65_536),  # 100 TB: blocks and parts grow, their numbers do not
    ],
)
def test_numbers_of_blocks_and_parts(
    tmp_path: Path, count: int, documents: int, blocks: int, parts: int, line_parts: int
) -> None:
    layout = lay_out(many(count, documents, 5 * documents), LocalStore(tmp_path))
    assert (layout.blocks, layout.parts, layout.line_parts) == (blocks, parts, line_parts)


def test_documents_are_in_their_blocks(tmp_path: Path) -> None:
    layout = lay_out(many(64, 10_000), LocalStore(tmp_path))
    bounds = np.array(layout.starts, np.uint64)
    assert layout.block_of(bounds[:-1]).tolist() == list(range(16))
    assert layout.block_of(bounds[1:] - np.uint64(1)).tolist() == list(range(16))


def test_another_division_uses_another_folder(tmp_path: Path) -> None:
    one, other = (lay_out(many(count, 10_000), LocalStore(tmp_path)) for count in (64, 65))
    assert one.folder != other.folder
