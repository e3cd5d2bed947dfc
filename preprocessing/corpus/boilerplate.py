"""Removal of boilerplate: lines that appear in many documents, such as menus and notices.

Lines are identified by a hash and removed before sentences are split. The removal changes the text, so the document
gets a new digest and a new split. Documents that differed only in boilerplate are then equal and are in the same split.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from configs.schema import CleaningConfig
from preprocessing.comparison import Hashes, is_among, line_hashes
from preprocessing.corpus.cleaning import Dropped, Kept, split_of


def without_boilerplate(document: Kept, boilerplate: Hashes, config: CleaningConfig) -> Kept | Dropped:
    """Return the document without its boilerplate lines, or the cause to drop it when too little text remains."""
    is_boilerplate = is_among(line_hashes(document.text), boilerplate)
    if not is_boilerplate.any():
        return document
    lines = document.text.split("\n")
    text = "\n".join(line for line, is_out in zip(lines, is_boilerplate.tolist(), strict=True) if not is_out)
    if len(text) < config.min_document_chars:
        return Dropped("too_short" if text else "only_boilerplate", document.span, document.read_bytes)
    encoded = text.encode()
    digest = hashlib.sha256(encoded).digest()
    return replace(
        document,
        text=text,
        text_bytes=len(encoded),
        digest=digest,
        split=split_of(digest, config.held_out_fraction),
        repairs=(*document.repairs, "boilerplate_removed", *["boilerplate_line"] * int(is_boilerplate.sum())),
    )
