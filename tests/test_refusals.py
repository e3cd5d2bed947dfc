"""Each place that creates a `UserError` is asserted by a test, or refusals.toml names the test that triggers it.

A string of a test asserts a site if it holds a literal part of the site's message, or is a part of it. refusals.toml
lists the other sites: those whose message is made elsewhere, with the `test` that triggers it and a part of what it
`says`; and those that no test triggers, with the `reason`. A new site without either fails here.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from launch.docs.generate.error_sites import ANY, ErrorSite, error_sites, sites_in
from tests.raise_sites import asserted_strings, is_asserted, name_of
from tests.structure import FLOORS, ROOT

TABLE = "tests/refusals.toml"
LISTED = {entry["site"]: entry for entry in tomllib.loads((ROOT / TABLE).read_text(encoding="utf-8"))["sites"]}


@pytest.fixture(scope="module")
def strings() -> set[str]:
    return asserted_strings(ROOT / "tests")


@pytest.fixture(scope="module")
def sites() -> list[ErrorSite]:
    return list(error_sites(ROOT, FLOORS))


def test_each_site_is_asserted_or_listed(sites: list[ErrorSite], strings: set[str]) -> None:
    assert len(sites) > 300
    missing = [f"{name_of(site)} (line {site.line})" for site in sites if not is_asserted(site, strings)]
    missing = [name for name in missing if name.rpartition(" (line ")[0] not in LISTED]
    advice = f"assert what these say in a test, or list them in {TABLE} with the reason"
    assert not missing, f"{advice}:\n" + "\n".join(missing)


def test_each_listed_site_exists_and_needs_to_be_listed(sites: list[ErrorSite], strings: set[str]) -> None:
    by_name = {name_of(site): site for site in sites}
    gone = [name for name in LISTED if name not in by_name]
    assert not gone, f"remove these from {TABLE}: " + "\n".join(gone)
    asserted = [name for name in LISTED if is_asserted(by_name[name], strings)]
    assert not asserted, f"tests assert these; remove them from {TABLE}: " + "\n".join(asserted)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_site_names_a_test_or_a_reason(name: str) -> None:
    entry = LISTED[name]
    if "reason" in entry:
        assert set(entry) == {"site", "reason"}
        assert len(entry["reason"].split()) > 3
        return
    file, _, function = entry["test"].partition("::")
    text = Path(ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {re.escape(function)}\(", text)
    assert entry["says"] in text


NEW_SITE = """
def read(path):
    cause = f"the quuxes are {path}, not a cheese"
    raise UserError(cause, place=path, fix="eat it")
"""


OTHER_FUNCTIONS = """
def first(kind):
    fix = "convert it to UTF-8"
    return fix

def second(rows):
    for fix in rows:
        raise UserError("the rows are blue", fix=fix)
"""


def test_the_words_of_a_site_are_not_those_of_another_function() -> None:
    (site,) = sites_in(OTHER_FUNCTIONS, "floor/room.py")
    assert site.fix == ANY


def test_a_new_site_is_found_and_asserted_by_its_own_words_only(strings: set[str]) -> None:
    (site,) = sites_in(NEW_SITE, "floor/room.py")
    assert name_of(site) == "floor/room.py:read: the quuxes are … not a cheese"
    others = {text for text in strings if "cheese" not in text and "quux" not in text}
    assert not is_asserted(site, {"of a cheese", *others})
    assert is_asserted(site, {"error: m.txt: the quuxes are 3, not a cheese. Eat it."})
    assert is_asserted(site, {"not a cheese"})
