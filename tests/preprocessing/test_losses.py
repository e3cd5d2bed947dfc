"""No text disappears uncounted, and little disappears, whatever its sentences are like."""

from __future__ import annotations

import hashlib
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from launch.display.preparation import text_in_no_row
from preprocessing.dataset.manifest import Manifest
from preprocessing.dataset.shard import read_shard
from preprocessing.inspection.data_card import card_text
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.storage import LocalStore
from preprocessing.vocabulary import Vocabulary
from tests.preprocessing.corpora import WORDS, make_documents, small_config, write_text


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def quoted(document: str) -> str:
    """Every second paragraph in quotation marks, which hold many sentences."""
    lines = [line for line in document.split("\n") for _ in range(4)]
    return "\n".join(f"“{line} {line}”" if number % 2 else line for number, line in enumerate(lines))


KINDS: dict[str, list[str]] = {
    "transcripts": ["\n".join(words(300, 10 * number + line) for line in range(3)) for number in range(40)],
    "one line a document": [words(250, number) for number in range(60)],
    "quotations": [f"{number}. {quoted(text)}" for number, text in enumerate(make_documents(60))],
    "brackets": [f"({words(90, number)}. {words(90, -number)}.) It ends." for number in range(60)],
    "a word without a blank": ["".join(words(200, number).split()) + ". A second one." for number in range(60)],
}


@pytest.mark.parametrize("objective", ["nsp", "sop"])
@pytest.mark.parametrize("kind", KINDS)
def test_little_text_stands_in_no_row(tmp_path: Path, kind: str, objective: str) -> None:
    corpus = write_text(tmp_path / "corpus.txt", KINDS[kind])
    config = small_config(
        tmp_path / "dataset", corpus, dupe_factor=5, objective=objective, provenance=True, accept_losses=True
    )

    manifest = prepare(config)

    pieces = manifest.losses[0].pieces
    assert manifest.in_no_row.cut + manifest.in_no_row.no_pair <= 0.02 * pieces
    assert manifest.in_no_row.cut <= (0.015 if objective == "nsp" else 0.005) * pieces
    assert list(verify(tmp_path / "dataset")) == []


def test_losses_are_shown(tmp_path: Path) -> None:
    texts = [*make_documents(80), *["Short." + " x" * number for number in range(40)]]
    manifest = prepare(small_config(tmp_path / "dataset", write_text(tmp_path / "corpus.txt", texts), dupe_factor=3))

    assert manifest.in_no_row.no_pair > 0
    share = (manifest.in_no_row.cut + manifest.in_no_row.no_pair) / manifest.losses[0].pieces
    assert f"{share:.2%} of the word pieces" in text_in_no_row(manifest)
    store = LocalStore(tmp_path / "dataset")
    card = card_text("dataset", manifest, Vocabulary.of_data_set(store, manifest.vocabulary))
    assert f"| train | 2 | {manifest.losses[0].pieces:,} | {manifest.losses[2].tokens_cut:,} |" in card
    assert f"{manifest.in_no_row.no_pair:,} are of documents that make no row" in card


def labels(manifest: Manifest, folder: Path, split: Any) -> list[int]:
    shards = [read_shard(folder / shard.name) for shard in manifest.select(split, 0)]
    return [int(label) for rows in shards for label in rows.next_sentence_label]


def test_one_held_out_document_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = make_documents(60)
    corpus = write_text(tmp_path / "corpus.txt", texts)
    places = sorted(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64 for text in texts)
    config = small_config(
        tmp_path / "dataset", corpus, held_out_fraction=(places[0] + places[1]) / 2, group_bytes=10**6
    )
    with caplog.at_level(logging.WARNING):
        manifest = prepare(config)
    assert manifest.statistics.held_out_documents == 1
    assert set(labels(manifest, tmp_path / "dataset", "held_out")) == {0}
    assert "held-out rows have the same label" in caplog.text
    assert "raise data.held_out_fraction" in caplog.text


def test_one_held_out_document_of_a_corpus_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training reports the losses of each corpus."""
    texts = sorted(make_documents(120), key=lambda text: hashlib.sha256(text.encode()).digest())
    parts = [[*texts[1:30], *texts[60:]], [texts[0], *texts[30:60]]]  # of the texts below 30, one is in the second
    border = int.from_bytes(hashlib.sha256(texts[29].encode()).digest()[:8]) / 2**64
    paths = [write_text(tmp_path / f"{number}.txt", part) for number, part in enumerate(parts)]
    corpora = [{"paths": [str(path)], "format": "text"} for path in paths]
    changes = {"corpora": corpora, "held_out_fraction": border + 1e-9, "group_bytes": 10**6}
    with caplog.at_level(logging.WARNING):
        manifest = prepare(small_config(tmp_path / "dataset", **changes))
    assert manifest.statistics.held_out_documents == 30
    assert "held-out rows of data.corpora.1 have the same label" in caplog.text
    assert "of data.corpora.0 have" not in caplog.text


def test_a_document_with_most_of_the_rows_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    novel = "\n".join(text.replace("Text", f"Chapter {n}") for n, text in enumerate(make_documents(300)))
    corpus = write_text(tmp_path / "corpus.txt", [novel, *make_documents(20, seed=7)])
    with caplog.at_level(logging.WARNING):
        config = small_config(tmp_path / "dataset", corpus, group_bytes=1_000_000, held_out_fraction=0.0)
        manifest = prepare(config)
    assert manifest.statistics.forced_following_pairs > 100
    assert "rows are labelled 0 without a coin" in caplog.text
    assert list(verify(tmp_path / "dataset")) == []
