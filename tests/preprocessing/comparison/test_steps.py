"""What is dropped does not depend on how the comparison is divided, and is what the definitions say."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from configs.schema import DataConfig
from preprocessing.comparison import compared, layout, near, regions
from preprocessing.comparison.lines import read_found_lines
from preprocessing.comparison.minhash import PERMUTATIONS, bands
from preprocessing.storage.local_store import LocalStore
from tests.preprocessing.comparison.synthetic import compare_here, write_source

EXACT, NEAR = 1, 2
THRESHOLD = 0.8


@st.composite
def corpora(draw: st.DrawFn) -> list[list[tuple[int, int, int, tuple[int, ...]]]]:
    """Files of documents: a digest, a signature's original and how many numbers differ from it, and the lines."""
    document = st.tuples(
        st.integers(0, 12),
        st.integers(0, 4),
        st.sampled_from([0, 5, 20, 27, 40]),
        st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple),
    )
    return draw(st.lists(st.lists(document, max_size=9), min_size=1, max_size=7))


def signature_of(original: int, changes: int, seed: int) -> np.ndarray:
    numbers = np.random.default_rng(original).integers(0, 1 << 32, PERMUTATIONS, np.uint32)
    random = np.random.default_rng((original, changes, seed))
    numbers[random.choice(PERMUTATIONS, changes, replace=False)] ^= np.uint32(1)
    return numbers


def expected(
    documents: list[tuple[int, int, int, tuple[int, ...]]], signatures: np.ndarray, boilerplate_documents: int
) -> tuple[list[int], set[int]]:
    """The definitions, with dictionaries: causes by document, and frequent lines."""
    causes = [0] * len(documents)
    seen: dict[object, int] = {}
    for place, (digest, *_) in enumerate(documents):
        if seen.setdefault(digest, place) != place:
            causes[place] = EXACT
    for band in bands(THRESHOLD):
        first: dict[bytes, int] = {}
        for place in range(len(documents)):
            if causes[place] != EXACT:
                other = first.setdefault(signatures[place, band].tobytes(), place)
                if other != place and (signatures[place] == signatures[other]).mean() >= THRESHOLD:
                    causes[place] = NEAR
    counts = Counter(line for place, document in enumerate(documents) if not causes[place] for line in {*document[3]})
    frequent = {line for line, count in counts.items() if count >= boilerplate_documents}
    rests: dict[tuple[int, ...], int] = {}
    for place, document in enumerate(documents):
        rest = tuple(line for line in document[3] if line not in frequent)
        if frequent and rest and not causes[place] and rests.setdefault(rest, place) != place:
            causes[place] = EXACT
    return causes, frequent


def hashed(number: int) -> int:
    return (number + 1) * 0x9E3779B97F4A7C15 % 2**64


@settings(max_examples=15, deadline=None)
@given(corpora(), st.integers(1, 6), st.integers(1, 6), st.sampled_from([200, 1 << 20]), st.integers(2, 5))
def test_divided_comparison_matches_the_definitions(
    files: list[list[tuple[int, int, int, tuple[int, ...]]]], block: int, part: int, buffer: int, often: int
) -> None:
    config = DataConfig.model_validate(
        {"duplicates": "near", "near_duplicate_threshold": THRESHOLD, "boilerplate_documents": often}
    )
    everything = [document for file in files for document in file]
    signatures = np.array([signature_of(*each[1:3], seed=place) for place, each in enumerate(everything)], np.uint32)
    signatures = signatures.reshape(-1, PERMUTATIONS)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in {"_BLOCK_DOCUMENTS": block, "_PART_RECORDS": part, "_SMALL": 1}.items():
            patch.setattr(layout, name, value)
        patch.setattr(layout, "_MOST_PARTS", 5)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of small files
        patch.setattr(regions, "_BUFFER_BYTES", buffer)
        patch.setattr(near, "_MOST_WAITING", 3)
        patch.setattr(near, "_ROWS", 2)
        work = LocalStore(Path(folder))
        sources, start = [], 0
        for number, file in enumerate(files):
            digests = np.array([[hashed(each[0]), each[0]] for each in file], np.uint64).reshape(-1, 2)
            lines = [np.array([hashed(line) for line in each[3]], np.uint64) for each in file]
            of_file = signatures[start : start + len(file)]
            sources.append(write_source(work, f"file-{number}", config, digests, lines, of_file, batch=2))
            start += len(file)
        found = compare_here(config, work, sources)
        drops = [np.load(io.BytesIO(work.read(source.drops) or b"")) for source in sources]
        boilerplate = read_found_lines(found)
    causes, frequent = expected(everything, signatures, often)
    assert boilerplate.tolist() == sorted(map(hashed, frequent))
    remaining = iter(causes)
    for file, dropped in zip(files, drops, strict=True):
        assert dropped.dtype == np.uint32
        assert dropped.tolist() == [[2 * n, cause] for n, cause in enumerate(islice(remaining, len(file))) if cause]


def test_a_signature_travels_once_to_each_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty copies of one signature in four blocks: the first document's is the only one that is sent."""
    monkeypatch.setattr(layout, "_BLOCK_DOCUMENTS", 10)
    monkeypatch.setattr(layout, "_SMALL", 1)
    config = DataConfig.model_validate({"duplicates": "near"})
    work = LocalStore(tmp_path)
    signatures = np.repeat(signature_of(0, 0, 0)[None], 10, axis=0)
    digests = np.arange(80, dtype=np.uint64).reshape(4, 10, 2)
    sources = [write_source(work, f"file-{n}", config, digests[n], signatures=signatures) for n in range(4)]
    comparison = compare_here(config, work, sources)
    assert comparison.layout.blocks == 4
    sent = [len(comparison.collected(near.SENT, 4, block, near._SIGNED, lambda: None)) for block in range(4)]
    assert sent == [1, 1, 1, 1]
    assert [len(np.load(tmp_path / source.drops)) for source in sources] == [9, 10, 10, 10]


def test_units_name_their_files(tmp_path: Path) -> None:
    assert compared.file_name("near-sent", 7) == "near-sent-00007"
