"""SubRip subtitles: a file is a document, the lines of its captions without their numbers and times."""

from __future__ import annotations

import re

from configs.errors import UserError
from configs.schema import CorpusConfig

_NUMBER_AND_TIMES = re.compile(r"^\d+\r?\n\d+:\d\d:\d\d,\d{3} --> .*$", re.MULTILINE)


def text_of_subtitles(text: str, _corpus: CorpusConfig, place: str) -> tuple[str, str]:
    """Return the lines of the captions. Raises `UserError` for a file without captions."""
    lines, captions = _NUMBER_AND_TIMES.subn("", text)
    if not captions:
        raise UserError("the file holds no caption", place=place, fix="name only SubRip files in data.corpora paths")
    return lines, ""
