"""Apostrophes are read as by MediaWiki's doQuotes."""

from __future__ import annotations

import pytest

from preprocessing.corpus.wikitext.quotes import without_quotes


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("'''bold''' and ''italic'' and '''''both'''''", "bold and italic and both"),
        ("l'''Autriche''", "l'Autriche"),
        ("de l'''Iliade'' et", "de l'Iliade et"),
        ("l''''Autriche'''", "l'Autriche"),  # four: an apostrophe and a bold mark
        ("dell'''opera''", "dell'opera"),
        ("''Eagle'''s wing", "Eagle's wing"),
        ("a '''''' b", "a ' b"),  # six: an apostrophe and both marks
        ("'''a''b", "'ab"),
        ("une '''ville''' d'''Italie''", "une ville d'Italie"),
        ("don't 'quote' it", "don't 'quote' it"),
        ("'''never closed", "never closed"),
    ],
)
def test_marks_are_removed_and_apostrophes_stay(line: str, text: str) -> None:
    assert without_quotes(line) == text
