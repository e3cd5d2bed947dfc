"""Sentences as a reader would part them, and nothing of the text lost."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from preprocessing.corpus.cleaning import clean
from preprocessing.rows.sentences import split_sentences


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "One here. Two here! Three?", ["One here.", "Two here!", "Three?"]),
        ("en", "Mr. Smith of the U.S. Army paid $3.50 in Fig. 3. He left.",
         ["Mr. Smith of the U.S. Army paid $3.50 in Fig. 3.", "He left."]),
        ("en", 'He said "Go on." Then he left.', ['He said "Go on."', "Then he left."]),
        ("en", "A heading\nThe text below it. More.", ["A heading", "The text below it.", "More."]),
        ("en", "first line without a stop\nsecond line", ["first line without a stop", "second line"]),
        ("de", "Es kostet z.B. 3 Euro. Am 3. Mai kam er.", ["Es kostet z.B. 3 Euro.", "Am 3. Mai kam er."]),
        ("zh", "这是一个句子。这是第二个！真的吗？", ["这是一个句子。", "这是第二个！", "真的吗？"]),
        ("xx", "Of no known tongue. But split.", ["Of no known tongue.", "But split."]),
        ("en", "", []),
    ],
)  # fmt: skip
def test_sentences(language: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences


@given(
    st.lists(st.sampled_from([*'aB1. !?"()\n', "Mr. ", "é", "。", "…", "”", "；", "།", "។"])),
    st.sampled_from(["en", "zh", "km", "bo"]),
)
def test_no_character_is_lost(parts: list[str], language: str) -> None:
    text = clean("".join(parts))
    sentences = split_sentences(text, language)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" and "\n" not in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("他说：“我走了。”然后走了。", ["他说：“我走了。”", "然后走了。"]),
        ("（见下文。）很好……真的？！是的；不错。", ["（见下文。）", "很好……", "真的？！", "是的；", "不错。"]),
        ("圆周率是3.14。完", ["圆周率是3.14。", "完"]),
        ("标题\n这是正文。", ["标题", "这是正文。"]),
        ("見る．行く｡来る!帰る?寝る……起きる；終わる",
         ["見る．", "行く｡", "来る!", "帰る?", "寝る……", "起きる；", "終わる"]),
        ("约３．５米。很好!」他说。", ["约３．５米。", "很好!」", "他说。"]),
        ("Yahoo!知恵袋とhttp://a.jp/?q=1を見る。", ["Yahoo!知恵袋とhttp://a.jp/?q=1を見る。"]),
        ("使用Yahoo! 他们", ["使用Yahoo!", "他们"]),
        ("数学（英語：Mathematics；拉丁語：Mathematica）是学科；重要。",
         ["数学（英語：Mathematics；拉丁語：Mathematica）是学科；", "重要。"]),
        ("他……，走了。他…走了。「没有……」他说。", ["他……，走了。", "他…走了。", "「没有……」他说。"]),
        ("It is Mr. J. Foo et al. here. He left. 他走了。", ["It is Mr. J. Foo et al. here.", "He left.", "他走了。"]),
        ("至8名。9月为季后赛。（三）每队。", ["至8名。", "9月为季后赛。", "（三）每队。"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("language", ["zh", "ja"])
def test_chinese_by_its_punctuation(text: str, sentences: list[str], language: str) -> None:
    assert split_sentences(text, language) == sentences


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("km", "ខ្ញុំទៅផ្សារ។គាត់ទៅសាលា ។ ពួកគេដេក៕ ហើយ?", ["ខ្ញុំទៅផ្សារ។", "គាត់ទៅសាលា ។", "ពួកគេដេក៕", "ហើយ?"]),
        ("bo", "ང་ཚོ་འགྲོ།ཁོང་འགྲོ། །ང་ཡོད༎", ["ང་ཚོ་འགྲོ།", "ཁོང་འགྲོ། །", "ང་ཡོད༎"]),
        ("dz", "ང་ཚོ་འགྲོ། ཁོང་འགྲོ", ["ང་ཚོ་འགྲོ།", "ཁོང་འགྲོ"]),
        ("my", "သူသွားသည်။ကျွန်တော်လာသည်။", ["သူသွားသည်။", "ကျွန်တော်လာသည်။"]),
        ("hi", "मैं जाता हूँ। वह आता है।", ["मैं जाता हूँ।", "वह आता है।"]),
        ("am", "እሄዳለሁ። ይመጣል።", ["እሄዳለሁ።", "ይመጣል።"]),
        ("ur", "میں جاتا ہوں۔ وہ آتا ہے۔", ["میں جاتا ہوں۔", "وہ آتا ہے۔"]),
    ],
)
def test_other_scripts_by_their_own_marks(language: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences


@pytest.mark.parametrize("unit", ["（", "( ", "…", "!", "！」", "。 ", "；", "a ", "། ", "។ ", " ", "「"])
@pytest.mark.parametrize("language", ["zh", "km", "bo"])
def test_sentence_ends_are_found_in_linear_time(unit: str, language: str) -> None:
    """A quadratic search would take hours for a text of this length."""
    assert "".join("".join(split_sentences(unit * 400_000, language)).split()) == "".join((unit * 400_000).split())


def test_long_line_is_split_as_short_ones_are() -> None:
    """A quotation mark without its other half, and a line that goes on for ever, swallow no sentences."""
    text = 'He said "go. ' + " ".join(f"Sentence {number} ends here." for number in range(20_000))
    sentences = split_sentences(text, "en")
    assert len(sentences) > 19_000
    assert " ".join(sentences) == text


def test_long_line_without_any_punctuation_is_one_sentence() -> None:
    text = "word " * 50_000
    assert split_sentences(text.strip(), "en") == [text.strip()]


SPEECH = [
    "He said, “I go to the town with my brother on the first of May, and nobody will come with us.",
    "You stay here until the end of the week, as you said that you would when we met in London.",
    "Mr. Smith comes at 5 p.m. today, and he will bring the papers that you asked him to bring.",
    "Then we eat.”",
]


@pytest.mark.parametrize(("opening", "closing"), ["“”", '""', "()", "«»", "‘’", "[]"])
def test_long_quotations_and_brackets_are_split_inside(opening: str, closing: str) -> None:
    sentences = [sentence.replace("“", opening).replace("”", closing) for sentence in SPEECH]
    assert split_sentences(" ".join([*sentences, "She left."]), "en") == [*sentences, "She left."]


def test_an_opening_mark_belongs_to_the_sentence_that_it_opens() -> None:
    filler = "and so on " * 30
    text = f"“I went {filler}home. You did not.” “Why did I not? He said “no,” she {filler}said. “It ran away.”"
    ends = ["home.", "You did not.”", "“Why did I not?", "said.", "“It ran away.”"]
    assert [sentence[-len(end) :] for sentence, end in zip(split_sentences(text, "en"), ends, strict=True)] == ends


def test_short_quotations_stay_whole() -> None:
    text = "He said, “I go. You stay.” She left."
    assert split_sentences(text, "en") == ["He said, “I go. You stay.”", "She left."]


def test_nothing_is_lost_inside_marks() -> None:
    text = " ".join(SPEECH * 3).replace("”", "") + " It’s Tom’s. 'So it is.' 'No. It is not.'"
    assert "".join("".join(split_sentences(text, "en")).split()) == "".join(text.split())


@pytest.mark.parametrize("unit", ["“a ", '"a ', "(a. ", "「a ", "Mr. ", "'a' "])
def test_line_of_quotations_without_ends_is_split_in_linear_time(unit: str) -> None:
    """sentencex takes quadratic time: hours for the longest documents."""
    text = (unit * (1_200_000 // len(unit))).strip()
    assert " ".join(split_sentences(text, "en")).replace(" ", "") == text.replace(" ", "")
    assert split_sentences(f"One. Two.\n{text}", "en")[:2] == ["One.", "Two."]
