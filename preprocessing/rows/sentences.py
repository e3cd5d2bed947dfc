"""Split documents into sentences, by the rules and abbreviations of a language (Wikimedia's sentencex).

Languages that sentencex splits wrongly or not at all are split by their own marks: Chinese and Japanese, where it does
not end a sentence if the next one begins with a digit or a bracket (of 64,000 sentence ends in Chinese Wikipedia, it
misses one in fourteen), Khmer, and Tibetan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sentencex

# In a longer line sentencex searches ever farther for the end of a quotation, which is slow and rarely right.
_LONG_LINE_CHARS = 10_000
_LONG_SENTENCE_CHARS = 250  # about half a row of 128 tokens
_MARK = re.compile("[\"“”„«»‹›()\\[\\]‘]|(?<=[.!?,])[’']|(?<!\\S)'(?=\\w)")
_OPENING_AT_END = re.compile("(?:^|\\s)([\"“„«‹(\\[‘']+)\\s*$")
_ENDLESS_CHARS = 50_000  # without an unambiguous end; the search for ends of quotations takes quadratic time
_INNER_END = re.compile("[.!?…।؟۔։]\\W*\\s\\W*\\w")
_PLAIN_END = re.compile("[.!?][\"'”’)\\]]* ")

# Languages that write no blank between sentences.
WITHOUT_BLANKS = frozenset(("bo", "dz", "ja", "wuu", "yue", "zh"))

_CLOSING = "[\"'”’」』）)》〉】〕］｣]*"
# A short remark in brackets is skipped, because semicolons separate its parts. ASCII marks end a sentence only after
# other characters ("Yahoo!知恵袋" and "?a=b" continue), and a full-width point not before a digit ("３．５"). English
# sentences in Chinese text end as well.
_CHINESE_END = re.compile(
    r"[（(][^（）()。！？\n]{0,200}[）)]"
    rf"|(?P<end>(?:[。！？｡；]|．(?![0-9０-９A-Za-z])|[…⋯]{{2,}}(?![，、,；。！？」』”])|(?<![!-~])[!?]+|(?<=[a-z][a-z])\.(?=\s[A-Z\u3040-\u9fff]|$)|[!?]+(?=\s|$))+{_CLOSING})"
)
_ENDS = {
    **dict.fromkeys(("ja", "wuu", "yue", "zh"), _CHINESE_END),
    "km": re.compile(rf"(?P<end>(?:[។៕!?]|\s(?=[។៕]))+{_CLOSING})"),
    **dict.fromkeys(("bo", "dz"), re.compile(rf"(?P<end>[།༎༏༐༑༔](?:\s?[།༎༏༐༑༔])*{_CLOSING})")),
}


def split_sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a cleaned text, in order, without empty ones.

    A line end always ends a sentence, because headings, list items and text with one sentence per line have no other
    mark. `language` is an ISO 639 code; sentencex applies the rules of a fallback language to codes it does not know.
    """
    if (end := _ENDS.get(language)) is not None:
        return [piece for line in text.split("\n") for piece in _up_to_ends(line, end)]
    if len(text) > _LONG_LINE_CHARS and max(map(len, text.split("\n"))) > _LONG_LINE_CHARS:
        pieces = [piece for line in text.split("\n") for piece in _pieces(line)]
        if max(map(len, pieces)) > _ENDLESS_CHARS:
            return [sentence for piece in pieces for sentence in _of_long_piece(piece, language)]
        text = "\n".join(pieces)
    lines = text.replace("\n", "\n\n")  # sentencex ends a sentence at an empty line only
    return [
        sentence
        for whole in sentencex.segment(language, lines)
        for piece in (_inside_marks(whole, language) if _may_hold_others(whole) else (whole,))
        if (sentence := piece.strip())
    ]


def _of_long_piece(piece: str, language: str) -> Iterator[str]:
    """Yield the sentences of a piece of a line, without a search for the ends of quotations if it is endless."""
    if len(piece) <= _ENDLESS_CHARS:
        yield from split_sentences(piece, language)
    else:
        yield from filter(None, map(str.strip, _inside_marks(piece, language)))


def _may_hold_others(sentence: str) -> bool:
    """Return whether the sentence is long and has a mark that can end a sentence before its end."""
    return len(sentence) > _LONG_SENTENCE_CHARS and _INNER_END.search(sentence) is not None


def _inside_marks(sentence: str, language: str) -> Iterator[str]:
    """Yield the sentences inside the quotation marks and brackets of a long sentence.

    sentencex ends no sentence there, so that a paragraph of direct speech is one sentence. Without the marks, it does.
    """
    blanked = _MARK.sub(" ", sentence)
    start = end = 0
    for piece in sentencex.segment(language, blanked) if blanked != sentence else ():
        end += len(piece)
        opening = _OPENING_AT_END.search(sentence, start, end)  # belongs to the next sentence
        cut = opening.start(1) if opening else end
        yield sentence[start:cut]
        start = cut
    yield sentence[start:]


def _up_to_ends(line: str, end: re.Pattern[str]) -> Iterator[str]:
    """Yield the line's sentences. Each one ends with a match of the group `end`, or with the line."""
    start = 0
    for mark in end.finditer(line):
        if mark["end"]:
            if sentence := line[start : mark.end()].strip():
                yield sentence
            start = mark.end()
    if sentence := line[start:].strip():
        yield sentence


def _pieces(line: str) -> Iterator[str]:
    """Yield the pieces of a long line, cut at unambiguous ends of sentences."""
    start = 0
    while len(line) - start > _LONG_LINE_CHARS and (end := _PLAIN_END.search(line, start + _LONG_LINE_CHARS)):
        yield line[start : end.end()]
        start = end.end()
    yield line[start:]
