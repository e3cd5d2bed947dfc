"""The data card shows the figures of the manifest and does not change the data set."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from preprocessing.dataset.manifest import CARD, PICTURES, Manifest
from preprocessing.inspection.card_pictures import frequent_tokens
from preprocessing.inspection.data_card import card_text, write_card
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.storage.local_store import LocalStore
from preprocessing.vocabulary.vocabulary import Vocabulary
from tests.preprocessing.corpora import make_documents, small_config, write_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    corpus = write_text(folder / "corpus.txt", [*make_documents(100), "\0", make_documents(1)[0]])
    prepare(small_config(folder / "dataset", corpus))
    return folder / "dataset"


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def test_card_and_pictures_leave_the_data_set_unchanged(folder: Path, manifest: Manifest) -> None:
    assert write_card(folder, manifest) == str(folder / CARD)
    text = (folder / CARD).read_text()
    pictures = sorted(file.name for file in (folder / PICTURES).iterdir())
    assert pictures == ["drops.png", "duplicates.png", "labels.png", "lengths.png", "ranks.png", "tokens.png"]
    assert all(f"]({PICTURES}/{name})" in text for name in pictures)
    assert all((folder / PICTURES / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert list(verify(folder)) == []
    corpus = folder.parent / "corpus.txt"
    assert prepare(small_config(folder, corpus)) == manifest
    assert prepare(small_config(folder, corpus), overwrite=True) == manifest
    assert not (folder / CARD).exists()
    assert not (folder / PICTURES).exists()


def test_card_shows_the_figures_of_the_manifest(folder: Path, manifest: Manifest) -> None:
    text = card_text("dataset", manifest, Vocabulary.of_data_set(LocalStore(folder), manifest.vocabulary))
    statistics = manifest.statistics
    rows = sum(statistics.length_histogram)
    first = manifest.select("train", 0)
    assert "\n---\n\n# Data set `dataset`\n" in text
    front = DatasetCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert (front["language"], front["license"], front["pretty_name"]) == (["en"], "unknown", "dataset")
    assert (front["size_categories"], front["task_categories"]) == (["n<1K"], ["fill-mask"])
    assert f"in 100 documents ({statistics.held_out_documents} of them held out)" in text
    assert f"| train | 0 | {len(first)} | {rows} | {sum(shard.tokens for shard in first):,} |" in text
    assert f"{rows - statistics.random_next_pairs} rows: B follows A" in text
    assert "| empty | 1 |" in text
    assert "equal cleaned text. 1 exact and 0 near duplicates were dropped. Boilerplate lines" in text
    assert "| `data.seed` | `12345` |" in text
    assert f"| data set | {manifest.digest} |" in text


def test_the_most_frequent_token_comes_first(folder: Path, manifest: Manifest) -> None:
    shares = frequent_tokens(manifest, Vocabulary.of_data_set(LocalStore(folder), manifest.vocabulary))
    assert len(shares) == 30
    assert next(iter(shares)) == "."
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
