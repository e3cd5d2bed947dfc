"""Cut input files into spans: byte ranges of files, as stored, that different workers can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter, SourceFile, open_stored
from preprocessing.storage import FileState, cuts_of, is_compressed

_COMPRESSION_RATIO = 4  # of text, approximately; affects only the sizes of the work items of compressed files

# Takes the path of a compressed file, and offsets in it. Returns near which of them it can be cut, and where exactly.
FindCuts = Callable[[str, Sequence[int]], list[int]]


@dataclass(frozen=True)
class FileSpan:
    """Bytes [start, end) of a file in corpus number `corpus`. `end` is None for a file that is not split."""

    corpus: int
    path: str
    start: int
    end: int | None
    size: int  # bytes, as stored
    weight: int  # expected bytes of text, multiplied by the corpus's weight
    state: FileState | None = None  # of the file, when its digest was computed
    file: int = 0  # its place in the plan's files
    copy: str = ""  # the file's content, decompressed, which is read in its place; `start` and `end` are offsets in it

    @property
    def place(self) -> str:
        """The file to read."""
        return self.copy or self.path

    @property
    def text_bytes(self) -> int:
        """Expected bytes of text."""
        return self.size * (_COMPRESSION_RATIO if is_compressed(self.place) else 1)


def text_a_byte(corpus: CorpusConfig, path: str) -> float:
    """Return the expected bytes of text per stored byte, multiplied by the corpus's weight."""
    is_packed = is_compressed(path) or FORMATS[corpus.format].is_compressed
    return corpus.weight * (_COMPRESSION_RATIO if is_packed else 1)


def cuts_in_file(path: str, places: Sequence[int]) -> list[int]:
    """Return where to cut a compressed file near `places`. Raises `UserError` for a file that cannot be read."""
    with open_stored(path, ReadCounter()) as stream:
        return cuts_of(stream, path, places)


def cut(
    number: int,
    corpus: CorpusConfig,
    file: SourceFile,
    copy: SourceFile | None,
    item_bytes: int,
    find_cuts: FindCuts = cuts_in_file,
) -> Iterator[FileSpan]:
    """Yield the spans of a file in corpus `number`: none if it is empty, one if it cannot be split.

    Other files are cut into equal spans near `item_bytes`; compressed ones into about equal ones, where units begin.
    `copy` is read in place of the file.
    """
    read = copy or file
    ratio = text_a_byte(corpus, read.path)
    bounds = _bounds(corpus, read, item_bytes, find_cuts)
    for start, end in pairwise(bounds or [0, read.size]):
        if end > start:
            size = end - start
            stored_end = end if bounds else None
            yield FileSpan(
                number, file.path, start, stored_end, size, round(size * ratio), copy=copy.path if copy else ""
            )


def _bounds(corpus: CorpusConfig, file: SourceFile, item_bytes: int, find_cuts: FindCuts) -> list[int]:
    """Return where the spans of a file begin, and its size; none for a file that is not split."""
    if not is_splittable(corpus):
        return []
    is_packed = is_compressed(file.path)
    pieces = max(1, round(file.size * (_COMPRESSION_RATIO if is_packed else 1) / item_bytes))
    places = [file.size * piece // pieces for piece in range(1, pieces)]
    if is_packed:
        places = find_cuts(file.path, places) if places else []
        return [0, *places, file.size] if places else []
    return [0, *places, file.size]


def is_splittable(corpus: CorpusConfig) -> bool:
    """Return whether the corpus's files can be split where they are not compressed."""
    return corpus.is_utf8 and FORMATS[corpus.format].is_splittable
