"""Clean documents, and decide which to keep and for which split. Each dropped document is counted by cause."""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from configs.schema import TextConfig
from preprocessing.corpus.dump_sites import site_of
from preprocessing.corpus.evaluation_text import evaluation_text
from preprocessing.corpus.wikitext import PageText, Site, UnparsableError, page_text
from preprocessing.dataset import Split
from preprocessing.documents import Document

# ASCII control characters are removed, as in BERT's own normalisation. Unlike there, those that separate words or lines
# (tab, form feed and the like) become blanks or line ends.
_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\v\f\r\x1c\x1d\x1e\x1f") + b"\x7f"
_ASCII_BLANKS = bytes.maketrans(b"\t\v\f\r\x1c\x1d\x1e\x1f", b" \n\n\n\n\n\n ")
_BLANKS = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_LINE_ENDS = "\x85\u2028\u2029"
_BYTE_ORDER_MARK = "\ufeff"  # it appears inside files that were concatenated
_BATCH_BYTES = 1 << 20  # of text per batch
_RUN_OF_BLANKS = re.compile(" {2,}")
# In every 64th byte of a text. A run of 64 combining marks, which have two bytes at least, shows two such bytes there.
_MANY_BEYOND_ASCII = re.compile(rb"[\x80-\xff]{2}")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document that is dropped, and counted."""

    cause: str
    span: int = 0  # the place of its span in its work item
    read_bytes: int = 0  # as it was read


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that is kept for the data set."""

    text: str  # cleaned: see `clean`
    text_bytes: int  # length of the text as UTF-8
    digest: bytes  # SHA-256 of the text as UTF-8
    split: Split
    copies: int = 1  # number of copies in the training split; the held-out split has at most one
    is_split: bool = False  # each of its lines is a sentence
    repairs: tuple[str, ...] = ()  # what was repaired in it, as causes to count
    corpus: int = 0  # the number of its corpus in the recipe
    span: int = 0  # the place of its span in its work item
    read_bytes: int = 0  # as it was read

    @property
    def times(self) -> int:
        """The number of copies in its split."""
        return self.copies if self.split == "train" else min(self.copies, 1)


def keep(document: Document, config: TextConfig) -> Kept | Dropped:
    """Clean a document. Return it with its digest, split and number of copies, or the cause to drop it."""
    outcome = _keep(document, config)
    return Dropped(outcome, document.span, document.read_bytes) if isinstance(outcome, str) else outcome


def _keep(document: Document, config: TextConfig) -> Kept | str:
    if document.drop:
        return document.drop
    try:
        page = text_of_page(document, config) if document.is_wikitext else PageText(document.text)
    except UnparsableError:
        return "unparsable_wikitext"
    kept, controls = _without_controls(page.text)
    text = _canonical(kept)
    if len(text) < config.min_document_chars:
        return "too_short" if text else "empty"
    if config.decontaminate and evaluation_text(config).shares_a_run(text):
        return "contaminated"
    encoded = text.encode()
    digest = hashlib.sha256(encoded).digest()
    split = split_of(digest, config.held_out_fraction)
    copies = copies_of(digest, document.weight)
    if not copies:
        return "not_sampled"
    repairs = (*document.repairs, *page.counts.elements(), *["control_characters_removed"] * bool(controls))
    return Kept(
        text,
        len(encoded),
        digest,
        split,
        copies,
        document.is_split,
        repairs,
        document.corpus,
        document.span,
        document.read_bytes,
    )


def text_of_page(document: Document, config: TextConfig) -> PageText:
    """Return the readable text of a page of a dump. Raises `UnparsableError`."""
    encoding = config.corpora[document.corpus].encoding
    site = site_of(document.path, encoding) if document.path else Site()
    return page_text(document.text, site, config.wikitext_templates, config.language_of(document.corpus))


def clean(text: str) -> str:
    """Return the text in canonical form: NFC, no ASCII control characters, single blanks, no empty lines.

    Equivalent characters become equal (line ends, blanks, composed and decomposed letters), so that equal documents
    have equal digests. BERT's tokenisation of the text stays the same, with two exceptions: words that only a form feed
    separates stay separate, and decomposed letters become the composed ones that a cased vocabulary contains.
    """
    return _canonical(_without_controls(text)[0])


def split_of(digest: bytes, held_out_fraction: float) -> Split:
    """Return the split of a document. It depends on the digest only, so equal documents are in the same split."""
    return "held_out" if int.from_bytes(digest[:8]) < held_out_fraction * 2**64 else "train"


def copies_of(digest: bytes, weight: float) -> int:
    """Return the number of copies: the integer part of `weight`, plus one with a probability of its fraction.

    The digest decides on the additional copy.
    """
    whole = int(weight)
    return whole + (int.from_bytes(digest[8:16]) < (weight - whole) * 2**64)


def batches(documents: Iterable[Kept | Dropped]) -> Iterator[list[Kept | Dropped]]:
    """Yield lists of documents with about `_BATCH_BYTES` of text."""
    batch: list[Kept | Dropped] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += document.text_bytes if isinstance(document, Kept) else 1
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _without_controls(text: str) -> tuple[bytes, int]:
    """Unify ASCII line ends and blanks, and remove control characters. Returns the text and the number removed."""
    encoded = text.encode()
    if b"\r" in encoded:
        encoded = encoded.replace(b"\r\n", b"\n")
    kept = encoded.translate(_ASCII_BLANKS, _CONTROLS)
    return kept, len(encoded) - len(kept)


def _canonical(encoded: bytes) -> str:
    """Do the rest of `clean`, after the control characters are removed."""
    text = encoded.decode()
    if not text.isascii():
        text = text.replace(_BYTE_ORDER_MARK, "")
        text = _composed(text) if _MANY_BEYOND_ASCII.search(encoded[::64]) else unicodedata.normalize("NFC", text)
        for character in _BLANKS:
            text = text.replace(character, " ")
        for character in _LINE_ENDS:
            text = text.replace(character, "\n")
    text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return _RUN_OF_BLANKS.sub(" ", text) if "  " in text else text


def _composed(text: str) -> str:
    """Return the text in NFC. Sorting combining marks takes quadratic time, so long runs of them are cut."""
    if not _may_hold_many_marks(text):
        return unicodedata.normalize("NFC", text)
    return "".join(unicodedata.normalize("NFC", part) for part in _many_marks().split(text))


def _may_hold_many_marks(text: str) -> bool:
    """Return whether four marks in a row are at a multiple of 32, as in every run of 64 marks."""
    in_a_row = zip(text[::32], text[1::32], text[2::32], text[3::32], strict=False)
    return any(unicodedata.combining(first) and all(map(unicodedata.combining, others)) for first, *others in in_a_row)


@cache
def _many_marks() -> re.Pattern[str]:
    """Return an expression for more combining marks in a row than any script has."""
    marks = "".join(filter(unicodedata.combining, map(chr, range(sys.maxunicode + 1))))
    return re.compile(f"([{marks}]{{64}})")
