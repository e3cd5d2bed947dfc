"""The manifest's losses are proven by the rows of a data set with provenance, and its label by B's ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.dataset.figures import PassLosses
from preprocessing.dataset.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from preprocessing.dataset.shard import Rows
from preprocessing.inspection.shard_checks import Failure
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import make_documents, small_config, write_text
from tests.preprocessing.mending import rewrite
from tests.preprocessing.rows.test_provenance import OBJECTIVES

MODES: dict[str, dict[str, Any]] = {**OBJECTIVES, "copies": {"duplicates": "none"}}


@pytest.fixture(scope="module", params=MODES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    documents = make_documents(150, sentences=6)
    one, other = write_text(folder / "one.txt", documents[:100]), write_text(folder / "other.txt", documents[80:])
    corpora = [
        {"paths": [str(one)], "format": "text"},
        {"paths": [str(other)], "format": "text", "weight": 2.5},
    ]
    prepare(small_config(folder / "dataset", corpora=corpora, provenance=True, **MODES[request.param]))
    return folder / "dataset"


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


def edit(dataset: Path, change: Callable[[Manifest], Manifest]) -> None:
    write_manifest(dataset, change(read_manifest(dataset)))


def test_a_correct_data_set_passes(whole: Path) -> None:
    manifest = read_manifest(whole)
    assert list(verify(whole)) == []
    assert [(one.split, one.pass_number) for one in manifest.losses] == [("train", 0), ("train", 1), ("held_out", 0)]
    for one in manifest.losses:
        assert one.in_no_row.cut <= one.tokens_cut
        assert one.in_no_row.cut + one.in_no_row.no_pair < 0.35 * one.pieces
    assert manifest.in_no_row.cut < manifest.losses[0].in_no_row.cut or not manifest.losses[0].in_no_row.cut


def test_figures_of_the_corpora_add_up(whole: Path) -> None:
    manifest = read_manifest(whole)
    first, second = manifest.corpora
    assert (first.corpus, second.corpus) == (0, 1)
    assert first.documents + second.documents == manifest.statistics.documents
    assert first.text_bytes + second.text_bytes == manifest.statistics.text_bytes
    shards = manifest.select("train", 0)
    assert first.rows + second.rows == sum(shard.rows for shard in shards)
    special = 2 if manifest.objective == "none" else 3
    assert first.tokens + second.tokens == sum(shard.tokens - special * shard.rows for shard in shards)
    assert second.rows > first.rows  # its weight is 2.5


@pytest.mark.parametrize("number", [0, 1])
def test_losses_that_the_rows_do_not_have_are_reported(dataset: Path, number: int) -> None:
    def claim(manifest: Manifest) -> Manifest:
        table = manifest.losses[number].model_dump(by_alias=True)
        table["in_no_row"]["cut"] += 1
        losses = [*manifest.losses]
        losses[number] = PassLosses.model_validate(table)
        return manifest.model_copy(update={"losses": losses})

    edit(dataset, claim)
    assert list(verify(dataset)) == [Failure(MANIFEST, f"losses of train pass {number} match the rows")]


def test_a_sum_over_passes_that_the_rows_do_not_have_is_reported(dataset: Path) -> None:
    def claim(manifest: Manifest) -> Manifest:
        more = manifest.in_no_row.model_copy(update={"no_pair": manifest.in_no_row.no_pair + 2})
        return manifest.model_copy(update={"in_no_row": more})

    edit(dataset, claim)
    assert list(verify(dataset)) == [Failure(MANIFEST, "in_no_row matches the rows of all passes")]


def test_a_segment_from_another_place_is_reported(dataset: Path) -> None:
    def move(rows: Rows) -> None:
        assert rows.provenance is not None
        assert rows.provenance.a_start is not None
        rows.provenance.a_start[:1] += np.uint32(1_000)

    rewrite(dataset, move)
    rules = {failure.rule for failure in verify(dataset)}
    assert rules == {"losses of train pass 0 match the rows", "in_no_row matches the rows of all passes"}
