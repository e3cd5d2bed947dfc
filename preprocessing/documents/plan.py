"""The plan, which divides the corpus into work items: a pure function of the input files, their sizes and the recipe.

`with_content` ties the plan to what the files contain: every item gets a key, which covers the recipe and the digests
of the item's files, and names the item's finished work.

A work item is a sequence of spans: complete files, or byte ranges of files that can be split. It holds about
`group_bytes` of input, or a sixteenth of a small corpus, so that several workers finish at about the same time. It
never holds less than half of that (unless the corpus does), so that every group has enough other documents to draw
random segments from. A document belongs to the span in which it begins.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from pathlib import PurePosixPath
from typing import Any

from configs.errors import UserError
from configs.schema import CorpusConfig, ReadingConfig, digest_of
from preprocessing.dataset import FORMAT_VERSION, InputEntry
from preprocessing.documents.content import FileContent
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import SourceFile
from preprocessing.storage import FileState, is_compressed

_COMPRESSION_RATIO = 4  # of text, approximately; affects only how many small files share a work item
_ITEMS_OF_A_SMALL_CORPUS = 16
_SMALL_ITEM_BYTES = 8_000_000  # a dozen novels or more, and two seconds of work


@dataclass(frozen=True)
class FileSpan:
    """Bytes [start, end) of a file in corpus number `corpus`. `end` is None for a file that cannot be split."""

    corpus: int
    path: str
    start: int
    end: int | None
    size: int  # bytes, as stored
    weight: int  # expected bytes of text, multiplied by the corpus's weight
    state: FileState | None = None  # of the file, when its digest was computed
    file: int = 0  # its place in the plan's files


@dataclass(frozen=True)
class WorkItem:
    """The unit of work of one worker."""

    number: int
    spans: tuple[FileSpan, ...]
    key: str = ""  # digest of the recipe, and of the content of the spans' files

    @property
    def work_name(self) -> str:
        """What names its finished work on text in the working folder: work on other text has another name."""
        return self.key[:32] or self.name

    @property
    def name(self) -> str:
        """The prefix of the file names of its groups."""
        return f"{self.number:05}"

    @property
    def size(self) -> int:
        """Size in bytes, as stored."""
        return sum(span.size for span in self.spans)

    @property
    def weight(self) -> int:
        """Expected bytes of text, multiplied by the weights of the corpora."""
        return sum(span.weight for span in self.spans)


@dataclass(frozen=True)
class Plan:
    """All work items, and the size and digest of the input that they divide."""

    items: tuple[WorkItem, ...]
    input_bytes: int  # of all files, as stored
    # Digest of the files' names and sizes, in order, and their formats; folder names are excluded. `with_content` adds
    # the digests of the files.
    input_digest: str
    files: tuple[tuple[SourceFile, ...], ...] = ()  # of each corpus, sorted by path
    inputs: tuple[InputEntry, ...] = ()  # the same files, as the manifest lists them; empty before `with_content`


def make_plan(files: Sequence[Sequence[SourceFile]], config: ReadingConfig) -> Plan:
    """Divide the files of each corpus (sorted; empty ones are skipped) into work items, in order."""
    for corpus in config.corpora:
        _refuse_encoding(corpus)
    item_bytes = _item_bytes(files, config)
    numbered = enumerate((number, file) for number, corpus_files in enumerate(files) for file in corpus_files)
    spans = [
        replace(span, file=place)
        for place, (number, file) in numbered
        for span in _cut(number, config.corpora[number], file, item_bytes)
    ]
    items = tuple(WorkItem(number, tuple(group)) for number, group in enumerate(_pack(spans, item_bytes)))
    described = [_describe(corpus, corpus_files) for corpus, corpus_files in zip(config.corpora, files, strict=True)]
    input_bytes = sum(file.size for corpus_files in files for file in corpus_files)
    return Plan(items, input_bytes, digest_of({"corpora": described}), tuple(map(tuple, files)))


def with_content(plan: Plan, contents: Mapping[str, FileContent], config: ReadingConfig) -> Plan:
    """Return the plan tied to the content of its files, given by path."""
    assert not plan.inputs, "a plan is tied to content once"
    inputs = tuple(
        InputEntry(corpus=number, name=name, bytes=file.size, sha256=contents[file.path].sha256)
        for number, files in enumerate(plan.files)
        for name, file in zip(_names(files), files, strict=True)
    )
    digest = digest_of({"listing": plan.input_digest, "sha256": [entry.sha256 for entry in inputs]})
    copies: Counter[str] = Counter()  # of items with the same content, which are different work
    items = []
    for item in plan.items:
        content = _content_digest(item, contents, config)
        key = digest_of({"content": content, "copy": copies[content]})
        copies[content] += 1
        spans = tuple(replace(span, state=contents[span.path].state) for span in item.spans)
        items.append(replace(item, spans=spans, key=key))
    return replace(plan, items=tuple(items), input_digest=digest, inputs=inputs)


def _content_digest(item: WorkItem, contents: Mapping[str, FileContent], config: ReadingConfig) -> str:
    """Return a digest of the recipe and of the content of an item's spans."""
    fields = [corpus.byte_fields() for corpus in config.corpora]
    described = [[contents[span.path].sha256, span.start, span.end, fields[span.corpus]] for span in item.spans]
    return digest_of({"format_version": FORMAT_VERSION, "recipe": config.byte_fields(), "spans": described})


def _names(files: Sequence[SourceFile]) -> list[str]:
    """Return the files' paths relative to the folder that holds all of them, as text also where they are not UTF-8."""
    paths = [file.path.split("/") for file in files]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    return [printable("/".join(path[common:])) for path in paths]


def printable(path: str) -> str:
    """Return a path as valid text: bytes that are not UTF-8 become escapes such as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _refuse_encoding(corpus: CorpusConfig) -> None:
    if not corpus.is_utf8 and not FORMATS[corpus.format].is_text:
        cause = f"{corpus.format} files state how they encode text"
        raise UserError(cause, place="data.corpora encoding", fix="remove the key encoding of this corpus")


def _item_bytes(files: Sequence[Sequence[SourceFile]], config: ReadingConfig) -> int:
    if config.incremental:  # the cuts of a file must not depend on other files
        return config.group_bytes
    text_bytes = sum(
        file.size * _text_a_byte(corpus, file)
        for corpus, corpus_files in zip(config.corpora, files, strict=True)
        for file in corpus_files
    )
    return min(config.group_bytes, max(_SMALL_ITEM_BYTES, int(text_bytes) // _ITEMS_OF_A_SMALL_CORPUS))


def _text_a_byte(corpus: CorpusConfig, file: SourceFile) -> float:
    """Return the expected bytes of text per stored byte, multiplied by the corpus's weight."""
    is_packed = is_compressed(file.path) or FORMATS[corpus.format].is_compressed
    return corpus.weight * (_COMPRESSION_RATIO if is_packed else 1)


def _cut(number: int, corpus: CorpusConfig, file: SourceFile, item_bytes: int) -> Iterator[FileSpan]:
    """Yield the spans of a file: none if it is empty, one if it cannot be split, else equal ones near `item_bytes`."""
    ratio = _text_a_byte(corpus, file)
    if is_compressed(file.path) or not corpus.is_utf8 or not FORMATS[corpus.format].is_splittable:
        if file.size:
            yield FileSpan(number, file.path, 0, None, file.size, round(file.size * ratio))
        return
    pieces = max(1, round(file.size / item_bytes)) if file.size else 0
    bounds = [file.size * piece // pieces for piece in range(pieces + 1)] if pieces else []
    for start, end in pairwise(bounds):
        yield FileSpan(number, file.path, start, end, end - start, round((end - start) * ratio))


def _pack(spans: Sequence[FileSpan], item_bytes: int) -> list[list[FileSpan]]:
    """Return sequences of spans of at least half of `item_bytes` each. A shorter rest joins the last sequence."""
    runs: list[list[FileSpan]] = [[]]
    weight = 0
    for span in spans:
        if 2 * weight >= item_bytes:
            runs.append([])
            weight = 0
        runs[-1].append(span)
        weight += span.weight
    if 2 * weight < item_bytes and len(runs) > 1:
        last = runs.pop()
        runs[-1] += last
    return [run for run in runs if run]


def _describe(corpus: CorpusConfig, files: Sequence[SourceFile]) -> dict[str, Any]:
    named = [[printable(PurePosixPath(file.path).name), file.size] for file in files]
    return {**corpus.byte_fields(), "files": named}
