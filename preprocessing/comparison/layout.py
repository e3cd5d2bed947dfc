"""How the comparison is divided: consecutive documents into blocks, and all keys into parts.

A worker of one step takes a block, and a worker of the next step a part: it decides about all keys in its range. Both
are limited, so that the memory of any worker is, and so that the number of blocks times parts stays reasonable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from configs.schema import digest_of
from preprocessing.storage import Store

_BLOCK_DOCUMENTS = 1 << 17
_PART_RECORDS = 1 << 21
_SMALL = 1 << 13  # documents of the smallest block, and records of the smallest part
_OF_A_SMALL_CORPUS = 16  # blocks or parts, so that several workers end at about the same time
_MOST_BLOCKS = 1 << 12
_MOST_PARTS = 1 << 12
_MOST_LINE_PARTS = 1 << 16


@dataclass(frozen=True)
class Source:
    """The compared documents of one file of fingerprints."""

    fingerprints: str  # name of the file
    drops: str  # name of the list of dropped documents that is written
    documents: int
    lines: int


@dataclass(frozen=True)
class Layout:
    """The numbers of blocks and parts. A document's index is its position among all compared documents."""

    starts: tuple[int, ...]  # the index of each block's first document, and the number of all documents
    parts: int  # of the keys of documents
    line_parts: int  # of the hashes of lines

    @property
    def blocks(self) -> int:
        """The number of blocks, at least one."""
        return len(self.starts) - 1

    @cached_property
    def folder(self) -> str:
        """The name of the folder of the comparison's files. Files of another division are never mixed with them."""
        return f"comparison/{digest_of(asdict(self))[:12]}"

    def documents(self, block: int) -> int:
        """Return the number of documents in a block."""
        return self.starts[block + 1] - self.starts[block]

    def block_of(self, documents: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the block of each document, given their indexes."""
        return np.searchsorted(np.array(self.starts, np.uint64), documents, side="right") - 1


def lay_out(sources: Sequence[Source], work: Store) -> Layout:
    """Divide the comparison, a pure function of the sources, and write the list of each block's sources to `work`."""
    documents = sum(source.documents for source in sources)
    lines = sum(source.lines for source in sources)
    blocks = list(_blocks(sources, _size(documents, _BLOCK_DOCUMENTS, _MOST_BLOCKS)))
    starts = np.cumsum([0, *(sum(source.documents for source in block) for block in blocks)]).tolist()
    parts = -(-documents // _size(documents, _PART_RECORDS, _MOST_PARTS))
    line_parts = -(-lines // _size(lines, _PART_RECORDS, _MOST_LINE_PARTS))
    layout = Layout(tuple(starts), max(1, parts), max(1, line_parts))
    files = work.below(layout.folder)
    files.make_folder()
    for number, block in enumerate(blocks):
        files.write_text(_block_name(number), json.dumps([asdict(source) for source in block]))
    return layout


def sources_of(files: Store, block: int) -> list[Source]:
    """Return the sources of a block, given the comparison's folder."""
    content = files.read(_block_name(block))
    assert content is not None, "the driver has written the list"
    return [Source(**source) for source in json.loads(content)]


def _size(records: int, usual: int, most: int) -> int:
    """Return the records of a block or part: the usual number, fewer for a small corpus, more for a very large one."""
    small = max(_SMALL, -(-records // _OF_A_SMALL_CORPUS))
    return max(min(usual, small), -(-records // most))


def _blocks(sources: Sequence[Source], documents: int) -> Iterator[list[Source]]:
    block: list[Source] = []
    size = 0
    for source in sources:
        if block and size + source.documents // 2 >= documents:
            yield block
            block, size = [], 0
        block.append(source)
        size += source.documents
    yield block


def _block_name(block: int) -> str:
    return f"block-{block:04}.json"
