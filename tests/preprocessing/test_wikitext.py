"""What a reader of the page sees, and nothing else."""

from __future__ import annotations

import pytest

from preprocessing.wikitext import plain_text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("Plain text.", "Plain text."),
        ("'''Bold''' and ''italic'' and '''''both'''''.", "Bold and italic and both."),
        ("A [[link]], a [[Page (x)|label]], [[dog]]s, [[Page#Part]], [[:Category:Dogs]].",
         "A link, a label, dogs, Page, Category:Dogs."),
        ("See [http://a.org the site] and [http://b.org] and http://c.org", "See the site and and"),
        ("One.<ref>No.</ref> Two.<ref name=\"a/b\" /> Three.<ref name=x>{{cite web|url=y}}</ref>", "One. Two. Three."),
        ("Odd <ref name=O'Neil>note</ref> end", "Odd end"),
        ("Before <!-- hidden\nlines --> after", "Before after"),
        ("{{Infobox person|name=[[X]]|born={{birth|1}}}}\nText.", "Text."),
        ("A {{nowrap|kept}} {{lang|fr|mot}} {{lang-de|Wort}} {{unknown|gone}} word.", "A kept mot Wort word."),
        ("It is {{convert|5|km|mi}} or {{convert|5|to|7|km|mi}} long.", "It is 5 km or 5 to 7 km long."),
        ("{{as of|2014}}, and {{as of|2015|lc=y}}, {{frac|1|2}} {{frac|3}} {{frac|2|1|2}}",
         "As of 2014, and as of 2015, 1/2 1/3 2 1/2"),
        ("1990{{ndash}}1995 {{c.|1900}} {{frac}}", "1990–1995 c. 1900"),
        ("[[File:A.jpg|thumb|200px|A [[caption]].]]Text.", "Text."),
        ("[[Файл:Снимка.jpg|мини|Надпис]]Текст.", "Текст."),
        ("Text.\n[[Category:Dogs|*]]\n[[de:Hund]]\n[[Категория:Кучета]]", "Text."),
        ("{| class=\"x\"\n|-\n! A !! B\n|-\n| 1 || 2\n|}\nText.", "Text."),
        ("<gallery>\nA.jpg|x\n</gallery><math>a^2</math>Text.", "Text."),
        ("* one\n** two\n# three\n: four\n; five", "one\ntwo\nthree\nfour\nfive"),
        ("H<sub>2</sub>O and <code>x</code>, <br/>new line", "H2O and x,\nnew line"),
        ("A&nbsp;B &amp; C &mdash; D", "A B & C — D"),
        ("__NOTOC__\nText. __NOEDITSECTION__", "Text."),
        ("Name ({{IPA|x}}; born 1900) and ( ) and ({{x}}, {{y}}) end , stop .", "Name (born 1900) and and end, stop."),
        ("Born {{x}}, {{y}}, died", "Born, died"),
        ("* {{cite}}, vol. 3", "vol. 3"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


def test_headings_stand_on_lines_of_their_own_over_text_only() -> None:
    page = "Lead.\n== A ==\n=== B ===\nText.\n=== C ===\n{{reflist}}\n== D ==\n\n== E ==\nMore.\n=== F ===\nEnd."
    assert plain_text(page).split("\n") == ["Lead.", "A", "B", "Text.", "E", "More.", "F", "End."]


def test_apparatus_is_left_out_with_what_is_below_it() -> None:
    page = (
        "Lead.\n== See also ==\n* [[X]]\n=== Lists ===\n* [[Y]]\n== Life ==\nText.\n==External links==\n* [http://a A]"
    )
    assert plain_text(page).split("\n") == ["Lead.", "Life", "Text."]


@pytest.mark.parametrize(
    "broken",
    ["{| never closed\n| cell", "[[File:A.jpg|thumb|never closed", "{{never closed|x", "'''never closed", "<ref>x"],
)
def test_broken_markup_leaves_the_rest_readable(broken: str) -> None:
    lines = plain_text(f"First paragraph.\n\n{broken}").split("\n")
    assert lines[0] == "First paragraph."
    assert not any(mark in line for line in lines for mark in ("{{", "[[", "{|", "'''", "<"))
