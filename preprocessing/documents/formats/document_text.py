"""Functions that extract a document's text from the block that a reader cut out of a file.

Each returns the text, and the cause to drop the document, or "" to keep it.
"""

from __future__ import annotations

from xml.etree import ElementTree  # parses one <page> at a time, which cannot contain a DTD or an entity

from configs.errors import UserError
from configs.schema import CorpusConfig


def whole_block(text: str, _corpus: CorpusConfig, _place: str) -> tuple[str, str]:
    """Return the complete block."""
    return text, ""


def text_of_page(xml: str, _corpus: CorpusConfig, place: str) -> tuple[str, str]:
    """Return the wikitext of a page's last revision. Raises `UserError` for XML that is not well-formed."""
    try:
        page = ElementTree.fromstring(xml)  # noqa: S314  # a <page> cannot contain a DTD or an entity
    except ElementTree.ParseError as error:
        raise UserError(f"not well-formed XML: {error}", place=place, fix="fetch the dump again") from error
    revisions = page.findall("revision")
    text = (revisions[-1].findtext("text") or "") if revisions else ""
    if page.find("redirect") is not None or text[:9].upper() == "#REDIRECT":
        return "", "redirect"
    if page.findtext("ns", "0").strip() != "0":
        return "", "not_an_article"
    if revisions and revisions[-1].findtext("model", "wikitext") != "wikitext":
        return "", "not_wikitext"
    return text, ""
