"""The plan, which divides the corpus into work items: a pure function of the input files, their sizes and the recipe.

`with_content` ties the plan to what the files contain: every item gets a key, which covers the recipe and the digests
of the item's files, and names the item's finished work.

A work item is a sequence of spans: complete files, or byte ranges of files that can be split. It holds about
`group_bytes` of input, or a sixteenth of a small corpus, so that several workers finish at about the same time. It
never holds less than half of that (unless the corpus does), so that every group has enough other documents to draw
random segments from. A document belongs to the span in which it begins.

An item with a compressed file that cannot be split is read and cleaned by one worker, which writes the cleaned text in
parts. `in_parts` replaces such an item by its parts, which are items of their own from then on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from configs.errors import UserError
from configs.schema import CorpusConfig, ReadingConfig, digest_of
from preprocessing.dataset import FORMAT_VERSION, InputEntry
from preprocessing.documents.content import FileContent
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import SourceFile
from preprocessing.documents.spans import FileSpan, FindCuts, cut, cuts_in_file, text_a_byte
from preprocessing.storage import is_compressed

_LARGE_ITEM = 2  # times the usual size of an item: more only where a compressed file cannot be split
_ITEMS_OF_A_SMALL_CORPUS = 16
_SMALL_ITEM_BYTES = 8_000_000  # a dozen novels or more, and two seconds of work


@dataclass(frozen=True)
class WorkItem:
    """The unit of work of one worker."""

    number: int
    spans: tuple[FileSpan, ...]
    key: str = ""  # digest of the recipe, and of the content of the spans' files
    part_bytes: int = 0  # of text in a part, if its cleaned text is written in parts; 0: it is not
    whole: str = ""  # of a part: the `work_name` of the item that it is a part of

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

    @property
    def is_part(self) -> bool:
        """Whether its cleaned text is a part of what a larger item's worker wrote."""
        return bool(self.whole)

    def part(self, number: int) -> WorkItem:
        """Return part `number` of the item, counted from 0."""
        key = digest_of({"item": self.key, "part": number})
        return replace(self, key=key, part_bytes=0, whole=self.work_name)

    def parts(self, count: int) -> list[WorkItem]:
        """Return the item's parts in order, each with its share of the size and the weight."""
        shares = (tuple(_share(span, number, count) for span in self.spans) for number in range(count))
        return [replace(self.part(number), spans=spans) for number, spans in enumerate(shares)]


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
    contents: Mapping[str, FileContent] = field(default_factory=dict)  # of the files, by path


def make_plan(
    files: Sequence[Sequence[SourceFile]],
    config: ReadingConfig,
    copies: Mapping[str, SourceFile] | None = None,
    find_cuts: FindCuts = cuts_in_file,
) -> Plan:
    """Divide the files of each corpus (sorted; empty ones are skipped) into work items, in order.

    `copies` gives, by path, the decompressed copies of files to read in their place.
    """
    for corpus in config.corpora:
        _refuse_encoding(corpus)
    item_bytes = _item_bytes(files, config)
    numbered = enumerate((number, file) for number, corpus_files in enumerate(files) for file in corpus_files)
    spans = [
        replace(span, file=place)
        for place, (number, file) in numbered
        for span in cut(number, config.corpora[number], file, (copies or {}).get(file.path), item_bytes, find_cuts)
    ]
    groups = enumerate(_pack(spans, item_bytes))
    items = tuple(WorkItem(number, tuple(group), part_bytes=_part_bytes(group, item_bytes)) for number, group in groups)
    described = [_describe(corpus, corpus_files) for corpus, corpus_files in zip(config.corpora, files, strict=True)]
    input_bytes = sum(file.size for corpus_files in files for file in corpus_files)
    return Plan(items, input_bytes, digest_of({"corpora": described}), tuple(map(tuple, files)))


def in_parts(plan: Plan, parts_of: Callable[[WorkItem], int]) -> Plan:
    """Return the plan with each item replaced by its parts. `parts_of` returns their number; 0: the item stays."""
    numbers = [parts_of(item) for item in plan.items]
    items = (part for item, number in zip(plan.items, numbers, strict=True) for part in item.parts(number) or (item,))
    return replace(plan, items=tuple(replace(item, number=number) for number, item in enumerate(items)))


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
    return replace(plan, items=tuple(items), input_digest=digest, inputs=inputs, contents=contents)


def _content_digest(item: WorkItem, contents: Mapping[str, FileContent], config: ReadingConfig) -> str:
    """Return a digest of the recipe and of the content of an item's spans."""
    fields = [corpus.byte_fields() for corpus in config.corpora]
    described = [[contents[span.path].sha256, span.start, span.end, fields[span.corpus]] for span in item.spans]
    parts = {"part_bytes": item.part_bytes} if item.part_bytes else {}
    return digest_of({"format_version": FORMAT_VERSION, "recipe": config.byte_fields(), "spans": described, **parts})


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
        file.size * text_a_byte(corpus, file.path)
        for corpus, corpus_files in zip(config.corpora, files, strict=True)
        for file in corpus_files
    )
    return min(config.group_bytes, max(_SMALL_ITEM_BYTES, int(text_bytes) // _ITEMS_OF_A_SMALL_CORPUS))


def _part_bytes(spans: Sequence[FileSpan], item_bytes: int) -> int:
    """Return `item_bytes` if a compressed file makes the item much larger than others, else 0."""
    packed = sum(span.text_bytes for span in spans if is_compressed(span.place))
    return item_bytes if packed > _LARGE_ITEM * item_bytes else 0


def _share(span: FileSpan, number: int, count: int) -> FileSpan:
    size, weight = (total * (number + 1) // count - total * number // count for total in (span.size, span.weight))
    return replace(span, size=size, weight=weight)


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
