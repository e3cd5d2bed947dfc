"""What the tests of preparation's engines and shares have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five groups of the small recipe; its last documents repeat its first."""
    documents = make_documents(280)
    return write_text(tmp_path_factory.mktemp("corpus") / "corpus.txt", documents + documents[:20])


@pytest.fixture(scope="module")
def whole(corpus: Path) -> dict[str, str]:
    """The files that this process makes of it in one go."""
    config = small_config(corpus.parent / "whole", corpus)
    prepare(config)
    return digests(Path(config.dataset))
