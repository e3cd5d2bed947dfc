"""Wikitext is converted to the text that a reader of the page sees."""

from __future__ import annotations

import pytest

from preprocessing.corpus.wikitext.page import plain_text


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
        ("A {{nowrap|kept}} {{lang|fr|mot}} {{lang-de|Wort}} {{unknown|left}} word.", "A kept mot Wort left word."),
        ("It is {{convert|5|km|mi}} or {{convert|5|to|7|km|mi}} long.", "It is 5 km or 5 to 7 km long."),
        ("{{as of|2014}}, and {{as of|2015|lc=y}}, {{frac|1|2}} {{frac|3}} {{frac|2|1|2}}",
         "As of 2014, and as of 2015, 1/2 1/3 2 1/2"),
        ("1990{{ndash}}1995 {{c.|1900}} {{frac}}", "1990–1995 c. 1900"),
        ("[[File:A.jpg|thumb|200px|A [[caption]].]]Text.", "Text."),
        ("[[Файл:Снимка.jpg|мини|Надпис]]Текст.", "Текст."),
        ("Text.\n[[Category:Dogs|*]]\n[[de:Hund]]\n[[Категория:Кучета]]", "Text."),
        ("{| class=\"x\"\n|-\n! A !! B\n|-\n| 1 || 2\n|}\nText.", "Text."),
        ("<gallery>\nA.jpg|x\n</gallery><math>\\frac{a}{2}</math>Text.", "Text."),
        ("* one\n** two\n# three\n: four\n; five", "one\ntwo\nthree\nfour\nfive"),
        ("H<sub>2</sub>O and <code>x</code>, <br/>new line", "H2O and x,\nnew line"),
        ("A&nbsp;B &amp; C &mdash; D", "A B & C — D"),
        ("__NOTOC__\nText. __NOEDITSECTION__", "Text."),
        ("Name ({{IPAc-en|x}}; born 1900) and ( ) and ({{x}}, {{y}}) end , stop .",
         "Name (born 1900) and and end, stop."),
        ("Born {{x}}, {{y}}, died. He lived.", "He lived."),
        ("* {{cite}}, vol. 3", "vol. 3"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup_is_converted(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # Consecutive lines are one paragraph, so that no sentence ends at a line end.
        ("It is used\nfor much.\nAnd more.\n\nNew.\n* item\n* item b\nAfter.",
         "It is used for much. And more.\nNew.\nitem\nitem b\nAfter."),
        ("One:\n{|\n| cell\n|}\ntwo.", "One:\ntwo."),
        ("First<br>second\nthird.", "First\nsecond third."),
        ("<poem>\nA line,\nanother.\n</poem>", "A line,\nanother."),
        ("Code:\n a = 1x\n b = 2x\nText.", "Code:\na = 1x\nb = 2x\nText."),
        ("; Blocking : A schedule\n; Alone\n: Its meaning", "Blocking: A schedule\nAlone\nIts meaning"),
        # Formulas: the simplest are kept, others take their sentence along, so that no sentence has a hole.
        ("where <math>A</math> is and <math>v_k</math>, <math>f=f(x)</math>.", "where A is and vk, f=f(x)."),
        ("Thus, <math>\\sum x</math> is. So. The ratio is:\n<math>\\frac 1 2</math>,\nwhere", "So."),
        ("The sum (<math>\\sum x</math>) is:\n: <math>\\sum y</math>\nFine.", "The sum is:\nFine."),
        ("Of <chem>H2O</chem> and. Of <ce>A \\bond{-} B</ce> the. Yes.", "Of H2O and. Yes."),
        ('Call <syntaxhighlight lang="c" inline>x;</syntaxhighlight> here. Yes.', "Yes."),
        ("{{math|''x'' {{=}} 1}} and {{mvar|y}}", "x = 1 and y"),
        # Templates within sentences.
        ("As per {{harvtxt|Spracklen|2008}} and {{harvtxt|A|B|C|1990|p=3}}.",
         "As per Spracklen (2008) and A, B & C (1990)."),
        ("A vowel, such as {{IPA|/a/}}, ({{IPA|fr|abc|lang}}) is", "A vowel, such as /a/, is"),
        ("''Aikido'' ({{Nihongo|way|合気道|aikidō}}, {{nihongo||銃剣|jūken}})",
         "Aikido (way (合気道, aikidō), 銃剣 (jūken))"),
        ("{{chem|H|2|O}} and {{chem2|CO2}}, {{chem|C|''n''|H|2''n''+2}}", "H2O and CO2, CnH2n+2"),
        ("roughly {{val|6.241|e=18}} and {{val|5|u=km}}", "roughly 6.241×1018 and 5 km"),
        ("with {{HMS|Ajax|22|6}} and the {{USS|Hornet|CV-12|6}}", "with HMS Ajax and the USS Hornet"),
        ("({{formatnum: 3003}} m)", "(3003 m)"),
        ("drawing on {{bibleref|Mark|3:25|9}}", "drawing on Mark 3:25"),
        ("({{OldStyleDate|February 2|1905|January 20}} – 1982)", "(February 2 1905 – 1982)"),
        ("Says:\n{{quote|text=So it is.|author=X}}\nHe says {{quote|1=More.}}", "Says:\nSo it is.\nHe says\nMore."),
        ("({{rtl-lang|ar|الكيمياء}}), {{Script|Copt|Ⲁ ⲁ}} {{resize|120%|big}}", "(الكيمياء), Ⲁ ⲁ big"),
        ("'knowing.{{' \"}} Then{{snd}}{{thinsp}}x{{sfrac|1|2}}", "'knowing.'\" Then – x 1/2"),
        ("{{Lang|de|\n  Wort\n}} {{lang_de | Haus}}", "Wort Haus"),
        # The rest of a note is not a separate line.
        ("Text.\n: <sup>1</sup> {{unknown}}", "Text."),
        # Magic words, and pages that only point elsewhere.
        ("{{DISPLAYTITLE:''x''}}{{DEFAULTSORT:X}}{{CURRENTYEAR}}Text.{{pp-protected}}", "Text."),
        ("'''A''' may refer to:\n* [[A (x)]], one\n* [[A (y)|A]]\n{{disambiguation}}",
         "A may refer to:\nA (x), one\nA"),
        # Markup in markup.
        ("{{lang|fr|[[a|b]] {{nowrap|c}}}} {{{1|default}}} {{{2}}}", "b c default"),
        ("[http://a.org [[b]] c] [//b.org d] (http://c.org/x), e.", "b c d, e."),
        ("{|\n{|\n| b\n|}\n| c\n|}\nText <table><tr><td>x<table>y</table></td></tr></table>end", "Text\nend"),
        ("<nowiki>[[a]] ''b''</nowiki> &amp;lt; x &lt;b&gt;", "[[a]] ''b'' &lt; x <b>"),
        ("One.\n<!-- a line of its own -->\nTwo.", "One. Two."),
        # What parser functions show, and what is not known.
        ("{{#if:x|yes|no}} {{lc:ABC}} {{ucfirst:word}} {{#switch:b|a=1|b=2}} {{#ifeq:a|a|same}}",
         "yes abc Word 2 same"),
        ("It costs {{#expr:2*3}} dollars. It is {{formatnum:{{x|1|2}}}}. Fine.", "Fine."),
        ("In {{CURRENTYEAR}} it was. {{PAGENAME}} is here. Fine.", "Fine."),
        # Chinese words by region.
        ("-{zh-hans:软件; zh-hant:軟體}-很好-{H|zh-cn:甲;zh-tw:乙}-，-{里}-", "软件很好，里"),
    ],
)  # fmt: skip
def test_markup_of_real_articles_is_converted(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


def test_headings_above_text_are_separate_lines() -> None:
    page = "Lead.\n== A ==\n=== B ===\nText.\n=== C ===\n{{reflist}}\n== D ==\n\n== E ==\nMore.\n=== F ===\nEnd."
    assert plain_text(page).split("\n") == ["Lead.", "A", "B", "Text.", "E", "More.", "F", "End."]


def test_reference_sections_are_omitted_with_their_subsections() -> None:
    page = (
        "Lead.\n== See also ==\n* [[X]]\n=== Lists ===\n* [[Y]]\n== Life ==\nText.\n==External links==\n* [http://a A]"
    )
    assert plain_text(page).split("\n") == ["Lead.", "Life", "Text."]


@pytest.mark.parametrize(
    "broken",
    [
        "{| never closed\n| cell",
        "[[File:A.jpg|thumb|never closed",
        "{{never closed|x",
        "'''never closed",
        "<ref>x",
        "x {{a|b=c [[d]] x",
        "[[a|b=c\n* [[d",
        "-{a|-{b|c",
        "{{{a|",
    ],
)
def test_broken_markup_does_not_affect_the_rest(broken: str) -> None:
    lines = plain_text(f"First paragraph.\n\n{broken}").split("\n")
    assert lines[0] == "First paragraph."
    assert not any(mark in line for line in lines for mark in ("{{", "[[", "{|", "'''", "<", "|"))
