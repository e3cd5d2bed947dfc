"""Provenance columns tell the truth, and a row whose label or segments are not as they say is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.corpus.cleaning import clean
from preprocessing.dataset.manifest import read_manifest
from preprocessing.dataset.seal import sealed_text
from preprocessing.dataset.shard import Rows, read_shard
from preprocessing.inspection.row_rules import original_ids
from preprocessing.inspection.shard_checks import Failure
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.rows.sentences import split_sentences
from preprocessing.vocabulary.vocabulary import Vocabulary
from tests.preprocessing.corpora import make_documents, small_config, write_text
from tests.preprocessing.mending import rewrite

OBJECTIVES: dict[str, dict[str, Any]] = {
    "balanced": {},
    "reference": {"nsp_mode": "reference"},
    "sop": {"objective": "sop"},
    "none": {"objective": "none"},
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    corpus = write_text(folder / "corpus.txt", make_documents(200))
    prepare(small_config(folder / "dataset", corpus, provenance=True, **OBJECTIVES[request.param]))
    return folder / "dataset"


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


def text_of(ids: list[int], vocabulary: Vocabulary) -> str:
    return "".join(vocabulary.pieces[number].removeprefix("##") for number in ids)


def test_segments_are_cut_from_the_sentences_that_are_named(whole: Path) -> None:
    vocabulary = Vocabulary.read(whole / "vocab.txt", lowercase=True)
    sentences = {}
    for text in make_documents(200):
        name = int.from_bytes(hashlib.sha256(clean(text).encode()).digest()[:8])
        sentences[name] = [sentence.lower().replace(" ", "") for sentence in split_sentences(clean(text), "en")]
    rows = read_shard(sorted((whole / "shards").glob("*-p01-train.arrow"))[0])
    origin, originals = rows.provenance, original_ids(rows)
    assert origin is not None
    for row in range(len(rows)):
        ids = originals[rows.input_offsets[row] : rows.input_offsets[row + 1]].tolist()
        border = int(rows.segment_a_length[row])
        a_first, b_first = int(origin.a_first_sentence[row]), int(origin.b_first_sentence[row])
        a_source = sentences[int(origin.a_document[row])][a_first : a_first + int(origin.a_sentences[row])]
        b_source = sentences[int(origin.b_document[row])][b_first : b_first + int(origin.b_sentences[row])]
        assert text_of(ids[1 : border - 1], vocabulary) in "".join(a_source)
        assert text_of(ids[border:-1], vocabulary) in "".join(b_source)
        assert bool(b_source) == (border < len(ids))


def test_a_swapped_label_is_named_by_its_row(dataset: Path) -> None:
    def swap(rows: Rows) -> None:
        rows.next_sentence_label[7] ^= 1

    shards = rewrite(dataset, swap, "train", 1)
    failures = list(verify(dataset))
    assert {failure.row for failure in failures} == {7}
    assert {failure.file for failure in failures} == {shard.name for shard in shards}


def other_document(rows: Rows) -> None:
    assert rows.provenance is not None
    rows.provenance.b_document[:] += np.uint64(1)


def same_document(rows: Rows) -> None:
    assert rows.provenance is not None
    rows.provenance.b_document[:] = rows.provenance.a_document


def later_sentence(rows: Rows) -> None:
    assert rows.provenance is not None
    rows.provenance.b_first_sentence[:] += np.uint32(1)


@pytest.mark.parametrize(
    ("change", "objectives"),
    [(other_document, {"nsp", "sop", "none"}), (same_document, {"nsp"}), (later_sentence, {"nsp", "sop"})],
)
def test_segments_from_elsewhere_are_named(dataset: Path, change: Callable[[Rows], None], objectives: set[str]) -> None:
    rewrite(dataset, change, "held_out")
    rules = {failure.rule for failure in verify(dataset)}
    assert rules <= {"label 0 means b begins where a ends", "label 1 means b is from another document or precedes a"}
    assert bool(rules) == (read_manifest(dataset).objective in objectives)


def test_columns_that_the_recipe_does_not_tell_of(dataset: Path) -> None:
    table = json.loads((dataset / "manifest.json").read_text())
    table["recipe"]["provenance"] = False
    (dataset / "manifest.json").write_text(sealed_text(table))
    shards = sorted(f"shards/{file.name}" for file in (dataset / "shards").iterdir())
    rule = "it has provenance columns if the recipe requests them"
    assert list(verify(dataset)) == [Failure(name, rule) for name in shards]
