"""The places of unknown templates in a line: filled with their text, or removed so that no sentence has a hole."""

from __future__ import annotations

import re
from collections import Counter

import sentencex

_BEGIN, _END = "\x03", "\x04"  # XML forbids these characters, so no page holds them
_HOLE, _HOLE_IN_BRACKETS = "\x05", "\x06"
_GAP = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_REMARK = re.compile(
    f"(?<=[(（;；,，])\\s?{_HOLE_IN_BRACKETS}(?=[)）;；,，])"
)  # between the other remarks in the brackets
_BRACKETS = re.compile(rf"\s?(?:\([^()]*{_HOLE_IN_BRACKETS}[^()]*\)|（[^（）]*{_HOLE_IN_BRACKETS}[^（）]*）)")
_WORD = re.compile(r"\w")
# Letters of scripts without blanks between words, where a template with a text does not look like a note.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_BEFORE_A_NOTE = (*".,;:!?…)]}”»。，；：！？）」』",)  # and letters
_BEFORE_AN_OBJECT = (*",:;=≈~–—-",)  # at the end of a line, they promise more
_BEFORE_A_SENTENCE = ("", *".!?…。！？")


def gap(text: str = "") -> str:
    """Return the mark of an unknown template, with the text to leave in its place."""
    return f"{_BEGIN}{without_marks(text)}{_END}"


def without_marks(text: str) -> str:
    """Return a template's argument as a value: with the text of the unknown templates in it, but without marks."""
    return text.replace(_BEGIN, "").replace(_END, "")


def is_only_gaps(line: str) -> bool:
    """Return whether the line holds at least one gap, and nothing else: it is a box or a banner."""
    return line.startswith(_BEGIN) and not _GAP.sub("", line).strip()


class Gaps:
    """Fills the gaps of one page's lines, and counts what it does."""

    def __init__(self, language: str) -> None:
        self.counts: Counter[str] = Counter()
        self._language = language

    def fill(self, line: str) -> str:
        """Return the line without marks.

        Shows nothing: a template on a line of its own, a note at the end of a word, one of several remarks in
        brackets, and a decoration in front of a sentence. Any other template leaves its text; if it has none, the
        brackets or the sentence around it are removed.
        """
        if _BEGIN not in line:
            return line
        pieces = _GAP.split(line)  # text, template, text, ..., text
        last = max((place for place in range(0, len(pieces), 2) if _WORD.search(pieces[place])), default=-1)
        if last < 0:
            return ""
        shown, before, depth = [""], "", 0
        for place in range(0, len(pieces), 2):
            text = pieces[place]
            if place:
                shown.append(self._shown(pieces[place - 1], before, text, depth, is_last=place > last))
            shown.append(text)
            depth += text.count("(") + text.count("（") - text.count(")") - text.count("）")
            if text:
                before = (text.rstrip()[-1:] or before.strip()) + " " * text[-1].isspace()
        return self._whole_sentences("".join(shown))

    def _shown(self, text: str, before: str, after: str, depth: int, *, is_last: bool) -> str:
        """Return what to show between the last character of the text `before` (with a blank after it) and `after`."""
        is_end_of_word = not _WORD.match(after) and (before.isalnum() or before in _BEFORE_A_NOTE)
        if is_end_of_word and (before in _BEFORE_A_NOTE or (before.isalpha() and (not text or text.isdigit()))):
            return ""
        if is_end_of_word and not _UNSPACED.match(before):  # a unit behind a number, say, or a part of the word
            return self._hole(depth)
        is_numbered_note = before.strip() in _BEFORE_A_SENTENCE[1:] and text.isdigit()
        if is_numbered_note and not after.strip():
            return ""
        if text:
            self.counts["unknown_template_text"] += 1
            return text
        follows = after.lstrip()[:1]
        is_decoration = before.strip() in _BEFORE_A_SENTENCE and (follows.isupper() or not follows.isalnum())
        is_end_of_line = is_last and not after.strip() and before.strip() not in _BEFORE_AN_OBJECT
        return "" if depth == 0 and (is_decoration or is_end_of_line) else self._hole(depth)

    @staticmethod
    def _hole(depth: int) -> str:
        return _HOLE_IN_BRACKETS if depth > 0 else _HOLE

    def _whole_sentences(self, line: str) -> str:
        """Return the line without the brackets, or else the sentences, that have a hole."""
        if _HOLE_IN_BRACKETS in line:
            line, brackets = _BRACKETS.subn("", _REMARK.sub("", line))
            self.counts["brackets_with_unknown_template"] += brackets
            line = line.replace(_HOLE_IN_BRACKETS, _HOLE)
        if _HOLE not in line:
            return line
        sentences = list(sentencex.segment(self._language, line))
        whole = [sentence for sentence in sentences if _HOLE not in sentence]
        self.counts["sentence_with_unknown_template"] += len(sentences) - len(whole)
        return "".join(whole).strip()
