"""What counts as finished, and what a run has made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.resuming.parts import described, finished_groups_exist, finished_parts, new_parts
from preprocessing.storage import store_at
from tests.preprocessing.not_local import SCHEME


@pytest.mark.parametrize("place", ["{}", SCHEME + "://{}"])
def test_parts_in_place_of_earlier_ones_are_new(place: str, tmp_path: Path) -> None:
    """Groups of text that has changed have the names of the groups of the earlier text."""
    store = store_at(place.format(tmp_path))
    for folder in ("groups", ".prepare"):
        store.below(folder).make_folder()
    for name in ("groups/00000.0000.json", "groups/00001.0000.json", "groups/inputs.json", ".prepare/job.json"):
        store.write_text(name, "{}")
    before = finished_parts(store)
    assert described(before) == "2 groups"
    assert new_parts(finished_parts(store), before) == []

    store.write_text("groups/00001.0000.json", "{...}")
    store.write_text("groups/vocabulary.json", "{}")
    new = new_parts(finished_parts(store), before)
    assert sorted(new) == ["groups/00001.0000.json", "groups/vocabulary.json"]
    assert described(new) == "1 trained vocabulary, 1 group"


def test_a_vocabulary_is_no_group(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    store.below("groups").make_folder()
    store.write_text("groups/vocabulary.json", "{}")
    assert not finished_groups_exist(store)
    store.write_text("groups/00000.0000.json", "{}")
    assert finished_groups_exist(store)
