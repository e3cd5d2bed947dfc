"""The causes by which documents are dropped: which ones the recipe wishes, and what the others indicate."""

from __future__ import annotations

# The recipe, or what the corpus is, asks for these. They are counted, but no loss.
WISHED = frozenset(
    {
        "redirect",
        "not_an_article",
        "not_wikitext",
        "not_a_page",
        "too_short",
        "only_boilerplate",
        "exact_duplicate",
        "near_duplicate",
        "not_sampled",
        "contaminated",
    }
)

# Judged by the number of documents alone: such a page is markup, so that its bytes do not measure lost text.
WITHOUT_TEXT = frozenset({"unparsable_wikitext"})

_FORMAT = "set the corpus's format to what its files hold"
_CORPUS = "check data.corpora (paths, format, encoding)"
_FIELD = "set the corpus's text_field to the field that holds the text, such as content.text, or correct its format"

# What a cause indicates, and the fix.
_EXPLANATIONS = {
    "broken_json": ("lines that are not JSON", _FORMAT),
    "no_text_field": ("no text in the field text_field", _FIELD),
    "empty": ("documents without text", _FIELD),
    "broken_row": ("rows that do not fit the header, or repeat it", "quote the values, or convert to JSON lines"),
    "outside_of_articles": ("text outside of WikiExtractor's <doc> elements", _FORMAT),
    "broken_page": ("pages that their servers sent damaged", "fetch the archive again"),
    "page_too_large": ("pages larger than a text is", "convert them to JSON lines with a program of yours"),
    "unparsable_wikitext": ("pages that cannot be parsed", _FORMAT),
    "no_word_pieces": ("text that BERT's normaliser removes completely", "check data.vocabulary, and the encoding"),
}


def explain(cause: str, *, has_fields: bool) -> tuple[str, str]:
    """Return what a cause means, and what fixes it. `has_fields`: the corpus's format has fields to choose from."""
    meaning, fix = _EXPLANATIONS.get(cause, (cause.replace("_", " "), _CORPUS))
    return meaning, _CORPUS if fix == _FIELD and not has_fields else fix
