"""Held-out shards are kept by corpus, and verify accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.dataset.manifest import Manifest
from preprocessing.dataset.shard import read_shard
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import make_documents, small_config, write_text


def prepared(folder: Path, *parts: list[str], **changes: Any) -> Manifest:
    paths = [write_text(folder / f"{number}.txt", documents) for number, documents in enumerate(parts)]
    corpora = [{"paths": [str(path)], "format": "text"} for path in paths]
    settings = {"held_out_fraction": 0.3, "provenance": True, "group_bytes": 64_000_000, **changes}
    return prepare(small_config(folder / "data", corpora=corpora, **settings))


def held_out_documents(folder: Path, manifest: Manifest, corpus: int) -> set[int]:
    found: set[int] = set()
    for entry in manifest.select("held_out", 0):
        if entry.corpus == corpus:
            origin = read_shard(folder / "data" / entry.name).provenance
            assert origin is not None
            found |= set(np.concatenate([origin.a_document, origin.b_document]).tolist())
    return found


@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_rows_of_a_held_out_shard_are_of_one_corpus(tmp_path: Path, objective: str) -> None:
    documents = make_documents(120)
    manifest = prepared(tmp_path, documents[:60], documents[60:], objective=objective)
    entries = manifest.select("held_out", 0)
    assert {entry.corpus for entry in entries} == {0, 1}
    assert {entry.corpus for entry in manifest.select("train", 0)} == {None}
    assert {entry.name.endswith("held_out-c01.arrow") for entry in entries if entry.corpus == 1} == {True}
    assert {entry.name.endswith("held_out.arrow") for entry in entries if entry.corpus == 0} == {True}
    first, second = (held_out_documents(tmp_path, manifest, corpus) for corpus in (0, 1))
    assert first
    assert second
    assert not first & second
    assert not list(verify(tmp_path / "data"))


def test_single_corpus_keeps_its_shard_names(tmp_path: Path) -> None:
    manifest = prepared(tmp_path, make_documents(60))
    assert {entry.corpus for entry in manifest.select("held_out", 0)} == {0}
    assert not any("-c0" in entry.name for entry in manifest.shards)


def test_equal_documents_of_two_corpora_are_held_out_once(tmp_path: Path) -> None:
    documents = make_documents(60)
    manifest = prepared(tmp_path, documents, documents, duplicates="none", objective="sop")
    assert {entry.corpus for entry in manifest.select("held_out", 0)} == {0}
    assert not list(verify(tmp_path / "data"))
