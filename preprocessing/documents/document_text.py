"""Functions that extract a document's text from the block that a reader cut out of a file.

Each returns the text, and the cause to drop the document, or "" to keep it.
"""

from __future__ import annotations

import json
from xml.etree import ElementTree  # parses one <page> at a time, which cannot contain a DTD or an entity

from configs.errors import UserError


def whole_block(text: str, _text_field: str, _place: str) -> tuple[str, str]:
    """Return the complete block."""
    return text, ""


def text_of_doc(text: str, _text_field: str, _place: str) -> tuple[str, str]:
    """Return the text between the tags of a `<doc>` element. The tags are on separate lines."""
    return text[text.find("\n") : text.rfind("\n")], ""


def text_of_object(line: str, text_field: str, _place: str) -> tuple[str, str]:
    """Return the value of `text_field` in a JSON object."""
    try:
        value = json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return "", "broken_json"
    text = value.get(text_field) if isinstance(value, dict) else None
    return (text, "") if isinstance(text, str) else ("", "no_text_field")


def text_of_page(xml: str, _text_field: str, place: str) -> tuple[str, str]:
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
