"""Corpora of every format, and of weights, prepared: the same rows from the same text, and copies that differ."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from configs.errors import UserError
from preprocessing.dataset.manifest import Manifest
from preprocessing.dataset.shard import read_shard
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.preprocessing.corpora import make_documents, small_config, write_text


def write_sentences(path: Path, documents: Sequence[str]) -> Path:
    return write_text(path, [document.replace(". ", ".\n") for document in documents])


def write_files(path: Path, documents: Sequence[str]) -> Path:
    path.mkdir()
    for number, document in enumerate(documents):
        (path / f"{number:03}.txt").write_text(document)
    return path


def write_json_lines(path: Path, documents: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"body": document}) + "\n" for document in documents))
    return path


def write_parquet(path: Path, documents: Sequence[str]) -> Path:
    pq.write_table(pa.table({"body": documents}), path, row_group_size=7)
    return path


def shards(manifest: Manifest) -> set[str]:
    return {shard.sha256 for shard in manifest.shards}


def corpus(path: Path, kind: str = "text", **fields: Any) -> dict[str, Any]:
    return {"paths": [str(path)], "format": kind, **fields}


@pytest.fixture
def vocabulary(tmp_path: Path) -> dict[str, str]:
    """Letters and digits, and the same as continuations."""
    signs = "abcdefghijklmnopqrstuvwxyz0123456789"
    path = tmp_path / "vocab.txt"
    Vocabulary((*SPECIAL_TOKENS, ".", *signs, *(f"##{sign}" for sign in signs)), lowercase=True).write(path)
    return {"file": str(path)}


@pytest.mark.parametrize(
    ("kind", "write"), [("files", write_files), ("jsonl", write_json_lines), ("parquet", write_parquet)]
)
def test_one_text_gives_the_same_rows_in_every_format(
    tmp_path: Path, vocabulary: dict[str, str], kind: str, write: Callable[[Path, Sequence[str]], Path]
) -> None:
    documents = make_documents(80)
    whole = {"vocabulary": vocabulary, "group_bytes": 1_000_000}
    text = prepare(small_config(tmp_path / "one", write_text(tmp_path / "a.txt", documents), **whole))
    path = write(tmp_path / "other_form", documents)
    other = prepare(small_config(tmp_path / "two", corpora=[corpus(path, kind, text_field="body")], **whole))
    assert shards(other) == shards(text)
    assert other.input_digest != text.input_digest


def test_sentences_a_line_are_taken_as_they_are(tmp_path: Path, vocabulary: dict[str, str]) -> None:
    documents = [f"{name}. B c\nd. E f. g\nh{name}" for name in range(40)]
    path = write_text(tmp_path / "a.txt", documents)
    made = prepare(small_config(tmp_path / "one", corpora=[corpus(path, "sentences")], vocabulary=vocabulary))
    assert made.statistics.sentences == 40 * 3
    assert list(verify(tmp_path / "one")) == []


def test_folder_of_mixed_compressions_and_empty_files(tmp_path: Path, vocabulary: dict[str, str]) -> None:
    documents = make_documents(100)
    parts = ["\n\n".join(documents[start : start + 20]).encode() for start in range(0, 100, 20)]
    folder = tmp_path / "corpus"
    folder.mkdir()
    packs: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("a.txt", bytes),
        ("b.gz", gzip.compress),
        ("c.bz2", bz2.compress),
        ("d.xz", lzma.compress),
    ]
    for (name, pack), part in zip([*packs, ("e.zst", zstandard.compress)], parts, strict=True):
        (folder / name).write_bytes(pack(part))
    (folder / "empty.txt").touch()
    (folder / "empty.gz").write_bytes(gzip.compress(b""))
    whole = {"vocabulary": vocabulary, "group_bytes": 1_000_000}
    mixed = prepare(small_config(tmp_path / "one", folder, **whole))
    joined = prepare(small_config(tmp_path / "two", write_text(tmp_path / "all", documents), **whole))
    assert shards(mixed) == shards(joined)


def test_copies_have_other_pairs_and_masks_and_are_never_one_anothers_negatives(
    tmp_path: Path, vocabulary: dict[str, str]
) -> None:
    path = write_text(tmp_path / "a.txt", make_documents(60))
    for mode in ("balanced", "reference"):
        config = {"vocabulary": vocabulary, "nsp_mode": mode, "provenance": True, "group_bytes": 1_000_000}
        once = prepare(small_config(tmp_path / f"{mode}-1", path, **config))
        thrice = prepare(small_config(tmp_path / f"{mode}-3", corpora=[corpus(path, weight=3.0)], **config))
        held_out = once.statistics.held_out_documents
        assert thrice.statistics.held_out_documents == held_out > 0
        assert thrice.statistics.documents - held_out == 3 * (once.statistics.documents - held_out)
        assert {s.sha256 for s in once.select("held_out", 0)} == {s.sha256 for s in thrice.select("held_out", 0)}
        rows = [read_shard(tmp_path / f"{mode}-3" / shard.name) for shard in thrice.select("train", 0)]
        given = [ids.tobytes() for each in rows for ids in np.split(each.input_ids, each.input_offsets[1:-1])]
        assert len(set(given)) > 0.95 * len(given)
        assert list(verify(tmp_path / f"{mode}-3")) == []  # provenance shows that negatives are of another digest


def test_weights_of_several_corpora(tmp_path: Path, vocabulary: dict[str, str]) -> None:
    first = write_text(tmp_path / "a.txt", make_documents(200))
    second = write_parquet(tmp_path / "b.parquet", make_documents(100, seed=2))
    corpora = [corpus(first, weight=0.5), corpus(second, "parquet", text_field="body", weight=2.0)]
    made = prepare(small_config(tmp_path / "one", corpora=corpora, vocabulary=vocabulary, held_out_fraction=0.0))
    left_out = made.drops["not_sampled"]
    assert abs(left_out - 100) <= 4 * np.sqrt(200 / 4)
    assert made.statistics.documents == 200 - left_out + 2 * 100
    assert list(verify(tmp_path / "one")) == []
    corpora[0]["weight"] = 0.6
    with pytest.raises(UserError, match="the input files"):
        prepare(small_config(tmp_path / "one", vocabulary=vocabulary, held_out_fraction=0.0, corpora=corpora))


@pytest.mark.parametrize(
    ("mode", "meaning"), [("balanced", "gives no pair"), ("reference", "always has a random next")]
)
def test_documents_of_one_line_each_are_warned_of(
    tmp_path: Path, vocabulary: dict[str, str], caplog: pytest.LogCaptureFixture, mode: str, meaning: str
) -> None:
    lines = [document.split("\n")[0].split(". ")[0] + "." for document in make_documents(100)]
    path = write_text(tmp_path / "a.txt", [*lines, *make_documents(5, seed=3)])
    with caplog.at_level(logging.WARNING):
        prepare(small_config(tmp_path / "one", path, vocabulary=vocabulary, nsp_mode=mode))
    assert meaning in caplog.text
    assert "sentences on average" in caplog.text


@pytest.mark.parametrize(
    ("content", "drops"), [("{broken\n[1\n", "2 broken_json"), ('{"title": "x"}\n', "1 no_text_field")]
)
def test_json_lines_that_are_all_broken_are_an_error(tmp_path: Path, content: str, drops: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"no document to train on \(dropped: {drops}\)"):
        prepare(small_config(tmp_path / "one", corpora=[corpus(path, "jsonl")]))
