"""The pictures of a data card: their data is there, and none shows nothing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from preprocessing.dataset.manifest import Manifest
from preprocessing.inspection.card_pictures import card_pictures, write_picture
from preprocessing.inspection.data_card import card_text
from preprocessing.pipeline import prepare
from preprocessing.storage.local_store import LocalStore
from preprocessing.vocabulary.vocabulary import Vocabulary
from tests.preprocessing.corpora import make_documents, small_config, write_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def prepared(folder: Path, name: str, documents: list[str], **changes: Any) -> tuple[Manifest, Vocabulary]:
    corpus = write_text(folder / f"{name}.txt", documents)
    manifest = prepare(small_config(folder / name, corpus).model_copy(update=changes))
    return manifest, Vocabulary.of_data_set(LocalStore(folder / name), manifest.vocabulary)


def axes_of(monkeypatch: pytest.MonkeyPatch, manifest: Manifest, vocabulary: Vocabulary) -> dict[str, Any]:
    """Draw all pictures, and return their axes by name."""
    found: dict[str, Any] = {}
    for name, picture in card_pictures(manifest, vocabulary).items():
        with monkeypatch.context() as patch:
            saved: list[Figure] = []
            patch.setattr(Figure, "savefig", lambda figure, *_, into=saved, **__: into.append(figure))
            write_picture(BytesIO(), picture)
        (found[name],) = saved[0].axes
    return found


def widths(axes: Any) -> dict[str, float]:
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True))


def test_each_picture_has_the_figures_of_the_manifest_with_units(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, vocabulary = prepared(folder, "full", [*make_documents(100), "\0", make_documents(1)[0]])
    axes = axes_of(monkeypatch, manifest, vocabulary)
    assert list(axes) == ["lengths", "labels", "drops", "duplicates", "tokens", "ranks"]
    statistics = manifest.statistics
    rows = sum(statistics.length_histogram)
    assert [bar.get_height() for bar in axes["lengths"].patches] == statistics.length_histogram
    labelled_1 = statistics.random_next_pairs
    assert widths(axes["labels"]) == {"B follows A": rows - labelled_1, "B comes from another document": labelled_1}
    assert widths(axes["drops"]) == {cause.replace("_", " "): count for cause, count in manifest.drops.items()}
    assert widths(axes["duplicates"]) == {"kept": 100, "exact duplicates": 1}
    assert len(widths(axes["tokens"])) == 30
    (curve,) = axes["ranks"].lines
    assert np.asarray(curve.get_ydata()).sum() == sum(statistics.token_counts)
    assert all(each.get_title() and each.get_xlabel() for each in axes.values())
    assert {axes[name].get_xlabel() for name in ("drops", "tokens", "labels")} == {
        "number of them", "% of all tokens", "rows"
    }  # fmt: skip
    assert axes["lengths"].get_ylabel() == "rows (logarithmic)"


def test_there_is_no_picture_of_nothing(folder: Path) -> None:
    """No drops, no duplicates, and a single kind of row."""
    manifest, vocabulary = prepared(folder, "clean", make_documents(100), objective="none")
    assert not manifest.drops
    assert list(card_pictures(manifest, vocabulary)) == ["lengths", "tokens", "ranks"]
    text = card_text("clean", manifest, vocabulary)
    assert [name in text for name in ("lengths.png", "labels.png", "drops.png", "duplicates.png")] == [
        True, False, False, False
    ]  # fmt: skip
