"""Spans of compressed files: wherever a file is cut, they have the documents of the whole file, once each."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig, DataConfig
from preprocessing.documents.input_files import ReadCounter, SourceFile
from preprocessing.documents.reader import Document, read_documents
from preprocessing.documents.spans import FileSpan, cut, cuts_in_file
from tests.preprocessing.compressed import IN_UNITS
from tests.preprocessing.corpora import wikipedia_xml

WORDS = ["one", "two three", "vier", "fünf", "", " ", "</doc>", "<page>"]
DOCUMENTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), max_size=8)


def content_of(kind: str, documents: list[list[str]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps({"text": "\n".join(lines)}) + "\n" for lines in documents).encode()
    if kind == "wikiextractor":
        return "".join(f'<doc id="1">\n{" ".join(lines)}\n</doc>\n\n' for lines in documents).encode()
    if kind == "wikipedia":
        pages = [("title", " ".join(lines)) for lines in documents]
        return wikipedia_xml(pages).encode()
    return "\n\n".join("\n".join(lines) for lines in documents).encode()


def read(path: Path, kind: str, bounds: list[int]) -> list[Document]:
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": kind})
    spans = [FileSpan(0, str(path), start, end, 0, 0) for start, end in pairwise(bounds)]
    return [document for span in spans for document in read_documents(span, corpus, DataConfig(), ReadCounter())]


def texts(documents: list[Document]) -> list[tuple[str, str]]:
    return [(document.text, document.drop) for document in documents]


@pytest.mark.parametrize("suffix", IN_UNITS)
@pytest.mark.parametrize("kind", ["text", "jsonl", "wikiextractor", "wikipedia"])
@settings(max_examples=12, deadline=None)
@given(DOCUMENTS, st.lists(st.integers(1, 400), max_size=12), st.lists(st.integers(1, 1 << 16), max_size=4))
def test_documents_are_read_once_for_all_units_and_cuts(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    suffix: str,
    documents: list[list[str]],
    units: list[int],
    drawn: list[int],
) -> None:
    content = content_of(kind, documents or [["one"]])
    folder = tmp_path_factory.mktemp("cut")
    plain, packed = folder / "a", folder / f"a{suffix}"
    plain.write_bytes(content)
    ends = [0, *sorted({end for end in units if end < len(content)}), len(content)]
    packed.write_bytes(IN_UNITS[suffix]([content[start:end] for start, end in pairwise(ends)]))
    size = packed.stat().st_size
    if suffix == ".bz2":
        starts = sorted({place % size for place in drawn} - {0})
    else:
        starts = cuts_in_file(str(packed), range(1, size))
        assert len(starts) == len(ends) - 2
    expected = texts(read(plain, kind, [0, len(content)]))
    assert texts(read(packed, kind, [0, *starts, size])) == expected
    few = sorted({starts[place % len(starts)] for place in drawn} if starts else set())
    assert texts(read(packed, kind, [0, *few, size])) == expected


@pytest.mark.parametrize("suffix", IN_UNITS)
def test_a_dump_without_its_end_is_refused_by_one_of_its_spans(tmp_path: Path, suffix: str) -> None:
    content = content_of("wikipedia", [["one"], ["two"], ["three"]]).removesuffix(b"</mediawiki>\n")
    assert b"</mediawiki>" not in content
    path = tmp_path / f"a.xml{suffix}"
    path.write_bytes(IN_UNITS[suffix]([content[:400], content[400:]]))
    size = path.stat().st_size
    with pytest.raises(UserError, match="truncated"):
        read(path, "wikipedia", [0, *(cuts_in_file(str(path), [1]) or [size // 2]), size])


def test_place_of_a_document_in_a_compressed_span_names_where_its_offset_counts_from(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(IN_UNITS[".gz"]([b"one\n\ntwo\n\n", b"three\n\nfour"]))
    (start,) = cuts_in_file(str(path), [1])
    assert [document.place for document in read(path, "text", [0, start, path.stat().st_size])] == [
        f"{path}, byte 0",
        f"{path}, byte 5",
        f"{path}, byte 10",
        f"{path}, byte 7 of the content from stored byte {start} on",
    ]


@pytest.mark.parametrize("kind", ["files", "csv"])
def test_formats_that_cannot_be_split_are_not_cut(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(IN_UNITS[".gz"]([b"one", b"two"]))
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": kind})
    (span,) = cut(0, corpus, SourceFile(str(path), path.stat().st_size), None, 10)
    assert (span.start, span.end) == (0, None)
