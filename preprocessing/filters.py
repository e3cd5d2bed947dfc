"""Cleaning, and which documents to keep for what. A document that is dropped has a cause, under which it is counted."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from mwparserfromhell.parser import ParserError

from configs.schema import DataConfig
from preprocessing.contract import Split
from preprocessing.documents import Document
from preprocessing.wikitext import plain_text

# ASCII controls go, as BERT's own normalisation would drop them; but those that part words or lines (tab, form feed
# and their like) become blanks or line ends, which that would not do.
_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\v\f\r\x1c\x1d\x1e\x1f") + b"\x7f"
_ASCII_BLANKS = bytes.maketrans(b"\t\v\f\r\x1c\x1d\x1e\x1f", b" \n\n\n\n\n\n ")
_BLANKS = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_LINE_ENDS = "\x85\u2028\u2029"
_RUN_OF_BLANKS = re.compile(" {2,}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A document of the data set."""

    text: str  # cleaned: see `clean`
    text_bytes: int  # of it as UTF-8
    digest: bytes  # SHA-256 of it as UTF-8
    split: Split
    is_repaired: bool  # invalid UTF-8 was replaced


def keep(document: Document, config: DataConfig) -> Kept | str:
    """The document cleaned, with its digest and split; or the cause why it is dropped."""
    if document.drop:
        return document.drop
    try:
        text = clean(plain_text(document.text) if document.is_wikitext else document.text)
    except ParserError:  # mwparserfromhell gives up on a page now and then
        return "unparsable_wikitext"
    if len(text) < config.min_document_chars:
        return "too_short" if text else "empty"
    encoded = text.encode()
    digest = hashlib.sha256(encoded).digest()
    return Kept(text, len(encoded), digest, split_of(digest, config.held_out_fraction), document.is_repaired)


def clean(text: str) -> str:
    """The text in canonical form: NFC, no ASCII controls, single blanks, lines that are not empty.

    What means the same becomes the same (line ends, blanks, composed and decomposed letters), so that equal documents
    have equal digests. To BERT the text stays what it was, but that words parted by a form feed alone stay apart, and
    that decomposed letters become those that a cased vocabulary knows.
    """
    text = text.encode().replace(b"\r\n", b"\n").translate(_ASCII_BLANKS, _CONTROLS).decode()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        for character in _BLANKS:
            text = text.replace(character, " ")
        for character in _LINE_ENDS:
            text = text.replace(character, "\n")
    text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return _RUN_OF_BLANKS.sub(" ", text) if "  " in text else text


def split_of(digest: bytes, held_out_fraction: float) -> Split:
    """The split of a document, by its digest alone: equal documents are never on both sides."""
    return "held_out" if int.from_bytes(digest[:8]) < held_out_fraction * 2**64 else "train"
