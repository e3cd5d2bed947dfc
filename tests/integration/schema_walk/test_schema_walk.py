"""Each key of a recipe changes what its text says, and nothing of an unrelated section.

A row sets one key to another legal value, and names the facts that change (`observing.py`). A key without a row fails.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from configs.exit_codes import STOP_SIGNALS
from configs.keys import section_of
from configs.schema import Recipe, Section
from preprocessing.pipeline import prepare
from pretrain.engine.distributed import World
from tests.distributed import ranks
from tests.integration.schema_walk import cluster_rows, data_rows, spread_rows, training_rows
from tests.integration.schema_walk.inputs import BASE, recipe_of, write_inputs
from tests.integration.schema_walk.observing import Observer, Seen
from tests.integration.schema_walk.row import CHANGEABLE, Row
from tests.pretrain.conftest import alone  # noqa: F401 (a fixture)

ROWS = [*data_rows.ROWS, *training_rows.ROWS, *cluster_rows.ROWS]


def keys_of(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the keys of a section and of those in it; the first element of a list of sections stands for all."""
    for name, field in section.model_fields.items():
        nested = section_of(field)
        if nested is None:
            yield f"{prefix}{name}"
        else:
            is_list = field.annotation is not nested
            yield from keys_of(nested, f"{prefix}{name}.0." if is_list else f"{prefix}{name}.")


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory, alone: World) -> Iterator[Observer]:  # noqa: F811
    folder = tmp_path_factory.mktemp("walk")
    (folder / "in").mkdir()
    write_inputs(folder / "in")
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    with pytest.MonkeyPatch.context() as patch:
        observer = Observer(folder, patch, alone)
        _make_sources(observer)
        yield observer
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _make_sources(observer: Observer) -> None:
    """Make what rows name: the base's data set `plain`, its run `earlier`, and another data set, `mixed`."""
    folder, base = observer.folder, observer.see(recipe_of(observer.folder, BASE), trains=True)
    assert base.dataset
    assert base.run
    (folder / "plain").symlink_to(base.dataset)
    (folder / "earlier").symlink_to(base.run)
    other = {"data.corpora.0.paths": ["{in}/other.txt"], "data.vocabulary.file": str(base.dataset / "vocab.txt")}
    prepare(recipe_of(folder, BASE | other | {"data.dataset": "{folder}/mixed"}).data)


def test_every_key_has_a_row() -> None:
    assert {row.key for row in [*ROWS, *spread_rows.ROWS]} == set(keys_of(Recipe))


@pytest.mark.slow  # as all rows together
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_key_changes_what_its_text_says(observer: Observer, row: Row) -> None:
    before, after = (observer.see(recipe, trains=row.section != "data") for recipe in _before_and_after(observer, row))
    _check(row, before, after)


@pytest.mark.slow
def test_a_key_of_several_ranks_changes_what_its_text_says(observer: Observer) -> None:
    pairs = [_before_and_after(observer, row) for row in spread_rows.ROWS]
    recipes = list(dict.fromkeys(recipe.model_dump_json() for pair in pairs for recipe in pair))
    facts, _ = ranks.run(spread_rows.train_all, 2, str(observer.folder / "spread"), recipes, timeout_s=500)
    for row, pair in zip(spread_rows.ROWS, pairs, strict=True):
        before, after = (observer.see(recipe, trains=False) for recipe in pair)
        for seen, recipe in zip((before, after), pair, strict=True):
            seen.facts |= facts[recipes.index(recipe.model_dump_json())]
        _check(row, before, after)


def _before_and_after(observer: Observer, row: Row) -> tuple[Recipe, Recipe]:
    settings = BASE | row.given
    return recipe_of(observer.folder, settings), recipe_of(observer.folder, settings | {row.key: row.value})


def _check(row: Row, before: Seen, after: Seen) -> None:
    changed = {name for name in before.facts.keys() & after.facts.keys() if before[name] != after[name]}
    if "vocabulary" in changed:
        changed -= {"weights"}  # their number follows that of the pieces
    assert changed - row.may == row.changes, row.key
    assert changed <= CHANGEABLE[row.section]
    assert row.says(before, after), row.key
