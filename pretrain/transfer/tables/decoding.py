r"""Lines of a text file: its encoding by its mark, its line ends by its content.

UTF-8 is read with or without a mark; UTF-16 and UTF-32 by their mark, or by their zero bytes. Lines end with \n or
\r\n; in a file without \n, with \r.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator

from configs.errors import UserError
from configs.files import too_large
from pretrain.transfer.tables.containers import read_whole

MARKS = {  # the longer ones first: the mark of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST_LINE = 512 << 20  # in bytes: JSON arrays can be one line; a sparse file is one, too
_ISO_2022 = re.compile(r"\x1b\$(?:[@AB]|\([CD]|\)C)")  # of Japanese or Korean, whose 7-bit bytes are valid UTF-8


def text_lines(stream: io.BufferedReader, place: str) -> Iterator[str]:
    """Yield the lines without their ends. Raises `UserError`, with the line, for text in an unknown encoding."""
    first = stream.peek(1)
    encoding = encoding_of(first)
    if encoding == "utf-8" and (b"\n" in first or b"\r" not in first):
        yield from _utf8_lines(stream, place)
        return
    try:
        text = read_whole(stream, place).decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"not {encoding.upper()} text", place=place, fix="save it as UTF-8") from error
    if "\0" in text:
        raise UserError("zero bytes: this is not a text file", place=place, fix="give text")
    ended = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    yield from ended.removesuffix("\n").split("\n")


def encoding_of(first: bytes) -> str:
    """Return the encoding of a file that begins with these bytes."""
    for mark, name in MARKS.items():
        if first.startswith(mark):
            return name
    head = first[:64]
    if len(head) > 3 and head[1::2].count(0) > len(head) // 3:
        return "utf-16-le"
    if len(head) > 3 and head[::2].count(0) > len(head) // 3:
        return "utf-16-be"
    return "utf-8"


def _utf8_lines(stream: io.BufferedReader, place: str) -> Iterator[str]:
    for number, raw in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1):
        if len(raw) > LONGEST_LINE:
            fix = "give a text file; write JSON as one object per line"
            raise UserError(f"a line {too_large(LONGEST_LINE)}", place=f"{place}, line {number}", fix=fix)
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            cause = f"not UTF-8 text: byte 0x{line[error.start]:02x}"
            fix = "save the file as UTF-8, e.g. `iconv -f CP1252 -t UTF-8 FILE > NEW` for Western European text"
            raise UserError(cause, place=f"{place}, line {number}", fix=fix) from error
        if "\0" in text:
            raise UserError("a zero byte: this is not a text file", place=f"{place}, line {number}", fix="give text")
        if _ISO_2022.search(text):
            fix = "save the file as UTF-8, e.g. `iconv -f ISO-2022-JP-2 -t UTF-8 FILE > NEW`"
            raise UserError("an escape sequence of ISO 2022, not UTF-8", place=f"{place}, line {number}", fix=fix)
        yield text.removesuffix("\n").removesuffix("\r")
