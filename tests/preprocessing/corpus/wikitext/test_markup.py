"""Markup of any kind, in any number, is rendered or refused in linear time."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.corpus.wikitext.markup import Markup, UnparsableError
from preprocessing.corpus.wikitext.page import plain_text

UNITS = [
    "{{a|", "{{{a|", "[[a|", "{|\n|a\n", "[http://a.org ", "-{a|", "'''a ''b ", "( ", ". ", ", ",
    "<li> [[a|b]] - SG\n", "[[P|<font color=red><b>w</b></font> ", "<ref>", "<ref name=a ", "<!-- ", "<math>",
    "<nowiki>", "<poem>\n", "<table>", "== a ==\n", "=", "{{a}}", "}}", "]]", "|", "__A", "&amp;", "{{nowrap|a}} ",
    "a {{odd}} ", "a ({{odd|1|2}} ", "[", "{", "<", "''", "'", "\n|}", "\n{|", "* ", ":", "http://a ", "\t",
    "{{odd|b}}", "(a {{x}} ", "|a=", "</ref>", "<b>", "-{",
]  # fmt: skip


def seconds(text: str) -> float:
    """CPU time. A page that is refused counts as well."""
    began = time.process_time()
    with suppress(UnparsableError):
        plain_text(text)
    return time.process_time() - began


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.timeout(300)
def test_time_is_linear_whatever_is_repeated(unit: str) -> None:
    """Sixteen times as much text takes 16 times as long, not 256 times; a tenth of a second hides noise."""
    few = unit * (20_000 // len(unit))
    assert seconds(few * 16) < 64 * (seconds(few) + 0.1)


def calls(text: str) -> int:
    """The number of function calls and resumed generators, of Python and of C, that a page takes."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        with suppress(UnparsableError):
            plain_text(text)
    finally:
        sys.setprofile(None)
    return count


STARTS = ["", "[[a ", "{{a ", "{{a|", "{|\n|", "[http://a.org b ", "[[a\n", "== a ==\n"]
LINKS = ["[[b]] ", "[[b|c]] ", "[[b|http://c]] ", "{{b|http://c}} ", "{{b|c=d}} ", "[[b\n"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("unit", [*UNITS, *LINKS])
def test_work_is_linear_whatever_is_repeated_in_open_markup(start: str, unit: str) -> None:
    """Eight times as much text takes eight times as many calls, and some for the page."""
    plain_text(start)  # reads the facts of languages
    assert calls(start + unit * 1_600) < 8.5 * calls(start + unit * 200) + 500


@pytest.mark.parametrize("unit", ["{{a|", "{{{a|", "[[a|", "\n{|\n|a"])
def test_page_that_is_nested_too_deeply_is_refused(unit: str) -> None:
    with pytest.raises(UnparsableError):
        plain_text(f"Intro text here.\n{unit * 2_000}")


def test_list_of_links_without_ends_is_kept() -> None:
    assert plain_text("* [[one\n* [[two\n" * 200).count("one") == 200


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([*filter("[".__ne__, UNITS), "word", " ", "\n", "x=y", "[[File:a|", "{{lang|fr|", "(", ")"]),
        max_size=40,
    )
)
def test_any_markup_leaves_text_without_marks(parts: list[str]) -> None:
    try:
        text = plain_text("".join(parts))
    except UnparsableError:
        return
    assert not any(mark in text for mark in ("{{", "}}", "[[", "]]", "\x03", "\x04", "\x05", "\x06", "\x07", "#expr"))


def test_braces_are_matched_from_the_inside() -> None:
    def show(name: str, arguments: dict[str, str], _spans_lines: bool) -> str:
        return f"<{name}:{','.join(f'{key}={value}' for key, value in arguments.items())}>"

    def render(source: str) -> str:
        return Markup(source, show, lambda target, label: f"({target}>{label})").render().strip()

    assert render("{{a|b|c=d|{{e|f}}}}") == "<a:1=b,c=d,2=<e:1=f>>"
    assert render("{{{{{1|x}}}|b}}") == "<x:1=b>"
    assert render("{{a|[[b|c]]|d}}") == "<a:1=(b>c),2=d>"
    assert render("{{a|[[b|c}} d") == "<a:1=c> d"
    assert render("[[a]] {x} [[b|c]]") == "(a>None) {x} (b>c)"
    assert render("{{a|b=c=d}}") == "<a:b=c=d>"
