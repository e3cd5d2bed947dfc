"""Each error whose fix is a command or a setting has a case, or listed.toml says why not.

A case belongs to an error if it names its `site`, or if what it `says` holds a literal part of the message, or is a
part of one. listed.toml names, for each of the other sites, a `test` that applies the fix, or the `reason` why none
does. A new error of this kind without either fails here.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from launch.docs.generate.error_sites import ErrorSite, error_sites, sites_in
from tests.integration.fixes.test_fixes import CASES
from tests.raise_sites import LEAST, fragments, name_of, plain
from tests.structure import FLOORS, ROOT

TABLE = Path(__file__).with_name("listed.toml")
LISTED = {entry["site"]: entry for entry in tomllib.loads(TABLE.read_text(encoding="utf-8"))["sites"]}
SAYS = {text for case in CASES if len(text := plain(case.says)) >= LEAST and not case.site}
SITES = tuple(case.site for case in CASES if case.site)

MADE_ELSEWHERE = r"^$|^…|[:;,] …"  # where the source has no literal fix
KEY = (
    r"\b(data|model|optimizer|train|checkpoint|cluster|task|tasks\.0|finetune)\.[a-z_]+|\b(encoding|lowercase|name) ?="
)
CHANGE = r"\bset |\b(lower|raise) (it|this|min_)|remove (this setting|the key)"  # of the setting that the error names
COMMAND = r"`(bertrain|torchrun|mpirun|iconv|openssl|git|scontrol|sinfo|hf)\b|\bthe same command"
OPTION = r"(^|[ `])--[a-z]"
OF_THE_KIND = re.compile("|".join((MADE_ELSEWHERE, KEY, CHANGE, COMMAND, OPTION)))


def of_the_kind() -> list[ErrorSite]:
    return [site for site in error_sites(ROOT, FLOORS) if OF_THE_KIND.search(site.fix)]


def common(site: ErrorSite, says: str) -> int:
    """Return how much of a site's message is in the words of a case, or the other way round."""
    return max((min(len(one), len(says)) for one in fragments(site) if one in says or says in one), default=0)


def claimed() -> set[str]:
    """Return the names of the sites that the cases are about: of several, those with the longest words in common."""
    found, sites = set(), [(name_of(site), site) for site in of_the_kind()]
    for says in SAYS:
        shared = {name: common(site, says) for name, site in sites}
        found |= {name for name, length in shared.items() if length and length == max(shared.values())}
    return found


CLAIMED = claimed()


def has_case(site: ErrorSite) -> bool:
    return name_of(site).startswith(SITES) or name_of(site) in CLAIMED


def test_each_fix_that_is_a_command_or_a_setting_is_applied_or_listed() -> None:
    sites = of_the_kind()
    assert len(sites) > 150
    missing = [name_of(site) for site in sites if not has_case(site) and name_of(site) not in LISTED]
    advice = f"add a case in this folder, or list them in {TABLE.relative_to(ROOT)} with the test or the reason"
    assert not missing, f"{advice}:\n" + "\n".join(missing)


def test_each_listed_site_exists_and_needs_to_be_listed() -> None:
    by_name = {name_of(site): site for site in of_the_kind()}
    unneeded = [name for name in LISTED if name not in by_name or has_case(by_name[name])]
    assert not unneeded, "remove these: " + "\n".join(unneeded)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_site_names_a_test_or_a_reason(name: str) -> None:
    entry = LISTED[name]
    assert set(entry) == {"site", "test"} or set(entry) == {"site", "reason"}
    if "reason" in entry:
        assert len(entry["reason"].split()) > 3
        return
    file, _, function = entry["test"].partition("::")
    assert re.search(rf"def {re.escape(function)}\(", (ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("site", SITES)
def test_a_site_that_a_case_names_exists(site: str) -> None:
    assert any(name_of(one).startswith(site) for one in of_the_kind())


@pytest.mark.parametrize(
    ("fix", "is_one"),
    [
        ("set data.quux to a larger number", True),
        ("add --quux", True),
        ("run `bertrain quux` first", True),
        ("lower it", True),
        ("run the same command again", True),
        ("choose another folder", False),
    ],
)
def test_a_new_fix_of_the_kind_is_noticed(fix: str, is_one: bool) -> None:
    (site,) = sites_in(f'def read():\n    raise UserError("the quuxes are not a cheese", fix="{fix}")\n', "a.py")
    assert bool(OF_THE_KIND.search(site.fix)) == is_one
    assert not has_case(site)
