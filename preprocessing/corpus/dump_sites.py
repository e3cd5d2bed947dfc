"""The wikis that dumps come from."""

from __future__ import annotations

from functools import lru_cache

from preprocessing.corpus.wikitext import Site, parse_site
from preprocessing.documents import ReadCounter, open_source

_HEAD_BYTES = 1 << 16  # siteinfo takes about 4 KB
_MOST_FILES = 64


@lru_cache(_MOST_FILES)
def site_of(path: str, encoding: str = "utf-8") -> Site:
    """Return the wiki of a dump, by the siteinfo at its beginning. Raises `UserError` when it cannot be read."""
    with open_source(path, ReadCounter(), encoding) as stream:
        head = stream.read(_HEAD_BYTES).decode(errors="replace")
    return parse_site(head.partition("<page>")[0])
