"""What the first bytes of a file tell about it: formats that are not text, and encodings that are not UTF-8."""

from __future__ import annotations

import re
from contextlib import suppress

from configs.errors import UserError

START_BYTES = 4096
_FEWEST_NULS = 32  # a few can be damage in a text
_FEWEST_NULS_A_BYTE = 0.01  # the blanks of any script give more in UTF-16

_SUFFIX = "add the suffix of its compression format to its name"
_UNPACK = "unpack it"
_REMOVE = "remove it from data.corpora paths"
_EXTRACT = "extract its text"

# The first bytes, what they mean, and how to read the file.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip data without the suffix .gz", _SUFFIX),
    (b"BZh", "bzip2 data without the suffix .bz2", _SUFFIX),
    (b"\xfd7zXZ", "xz data without the suffix .xz", _SUFFIX),
    (b"\x28\xb5\x2f\xfd", "zstandard data without the suffix .zst", _SUFFIX),
    (b"\x04\x22\x4d\x18", "LZ4 data", _UNPACK),
    (b"\x1f\x9d", "data of `compress` (.Z)", _UNPACK),
    (b"\x5d\x00\x00", "LZMA data", _UNPACK),
    (b"LZIP", "lzip data", _UNPACK),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy data", _UNPACK),
    (b"PK\x03\x04", "a zip archive, or an office document", f"{_UNPACK}, or {_EXTRACT}"),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"MSCF", "a cabinet archive", _UNPACK),
    (b"!<arch>\n", "an ar archive", _UNPACK),
    (b"FEA1", "Feather of version 1", "write it as Feather of version 2, which is Arrow, or as Parquet"),
    (b"070701", "a cpio archive", _UNPACK),
    (b"PAR1", "Parquet, which is a separate format", 'set format = "parquet" for this corpus'),
    (b"ARROW1", "Arrow, which is a separate format", 'set format = "arrow" for this corpus'),
    (b"\xff\xff\xff\xff", "an Arrow stream, which is a separate format", 'set format = "arrow" for this corpus'),
    (b"WARC/", "a web archive, which is a separate format", 'set format = "warc" for this corpus'),
    (b"ORC", "ORC", "convert it to Parquet"),
    (b"Obj\x01", "Avro", "convert it to Parquet"),
    (b"%PDF-", "PDF", _EXTRACT),
    (b"%!PS", "PostScript", _EXTRACT),
    (b"{\\rtf", "RTF", _EXTRACT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", _EXTRACT),
    (b"\x89PNG\r\n", "a PNG image", _REMOVE),
    (b"\xff\xd8\xff", "a JPEG image", _REMOVE),
    (b"GIF8", "a GIF image", _REMOVE),
    (b"II*\0", "a TIFF image", _REMOVE),
    (b"MM\0*", "a TIFF image", _REMOVE),
    (b"RIFF", "an image, a sound or a video", _REMOVE),
    (b"ID3", "a sound", _REMOVE),
    (b"fLaC", "a sound", _REMOVE),
    (b"OggS", "a sound or a video", _REMOVE),
    (b"\x7fELF", "a program", _REMOVE),
    (b"\x93NUMPY", "a NumPy array", _REMOVE),
    (b"\x89HDF\r\n", "HDF5", _REMOVE),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch the file: `git lfs pull`"),
    (b"SQLite format 3\0", "an SQLite database", _REMOVE),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # protocols 2 to 5
_ISO_2022 = re.compile(rb"\x1b\$(?:[@AB]|\([CD]|\)C)")  # 7-bit bytes of Japanese or Korean are valid UTF-8
_HZ = re.compile(rb"~\{(?:[!-}][!-~])+~\}")  # 7-bit bytes of Chinese, between escapes
_UTF_7 = re.compile(rb"\+[A-Za-z0-9+/]{3,}(?=[^A-Za-z0-9+/])")  # base64 of UTF-16
_SEVEN_BIT = ((_HZ, "hz"), (_UTF_7, "utf-7"))
_FEWEST_ESCAPES, _ESCAPED_SHARE = 4, 0.2  # a few can stand in a text about encodings, or in code
_MARKED = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def refuse_foreign(start: bytes, path: str, *, is_utf8: bool) -> None:
    """Raise `UserError` if the first bytes of a file show that it is not text, or, where it should be, not UTF-8."""
    if start[257:262] == b"ustar":
        raise UserError("this is a tar archive", place=path, fix=_UNPACK)
    if _PICKLE.match(start) and b"." in start[2:]:
        raise UserError("this is a pickle", place=path, fix="write its texts as JSON lines")
    for signature, kind, fix in _SIGNATURES:
        if start.startswith(signature):
            raise UserError(f"this is {kind}", place=path, fix=fix)
    if is_utf8 and (found := _ISO_2022.search(start)):
        encoding = "iso2022_kr" if found[0] == b"\x1b$)C" else "iso2022_jp_2"
        fix = f'set encoding = "{encoding}" for this corpus'
        raise UserError("this is not UTF-8 text, but ISO 2022: it holds its escape sequences", place=path, fix=fix)
    if is_utf8:
        _refuse_seven_bits(start, path)
        _refuse_wide_characters(start, path)


def _refuse_seven_bits(start: bytes, path: str) -> None:
    """Refuse encodings whose bytes are all valid UTF-8, because they are ASCII."""
    for pattern, encoding in _SEVEN_BIT:
        found = pattern.findall(start) if start.isascii() else []
        if len(found) < _FEWEST_ESCAPES or sum(map(len, found)) < _ESCAPED_SHARE * len(start):
            continue
        with suppress(UnicodeDecodeError):
            b" ".join(found).decode(encoding)
            fix = f'set encoding = "{encoding}" for this corpus'
            raise UserError(f"this is not UTF-8 text, but probably {encoding.upper()}", place=path, fix=fix)


def _refuse_wide_characters(start: bytes, path: str) -> None:
    for mark, encoding in _MARKED:
        if start.startswith(mark):
            fix = f'set encoding = "{encoding}" for this corpus'
            raise UserError(f"this is {encoding.upper()} text", place=path, fix=fix)
    nuls = [start[place::2].count(0) for place in (0, 1)]
    if sum(nuls) < max(_FEWEST_NULS, _FEWEST_NULS_A_BYTE * len(start)):
        return
    if max(nuls) < 4 * min(nuls):
        raise UserError("this is binary data, not text: it holds NUL bytes", place=path, fix=_REMOVE)
    encoding = "utf-16-be" if nuls[0] > nuls[1] else "utf-16-le"
    cause = f"this is not UTF-8 text, but probably {encoding.upper()}: it holds NUL bytes"
    raise UserError(cause, place=path, fix=f'set encoding = "{encoding}" for this corpus')
