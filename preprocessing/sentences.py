"""Documents to sentences, by the rules and abbreviations of a language (Wikimedia's sentencex)."""

from __future__ import annotations

import sentencex


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a cleaned text, in order, none empty.

    A line end always ends a sentence: headings, list items and text that already stands a sentence a line have no
    other mark. `language` is an ISO 639 code; one that sentencex does not know is split by its fallback's rules.
    """
    lines = text.replace("\n", "\n\n")  # sentencex ends a sentence at an empty line only
    return [sentence for piece in sentencex.segment(language, lines) if (sentence := piece.strip())]
