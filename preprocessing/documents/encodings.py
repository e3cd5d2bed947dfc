"""Text in other encodings than UTF-8: converted while it is read."""

from __future__ import annotations

import codecs
import io
from typing import IO, TYPE_CHECKING, Any

from configs.errors import UserError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

_CHUNK_BYTES = 1 << 18
_INVALID = "bertrain.invalid"
_MOST_CHAOS = 0.4  # more than charset-normalizer's default: a person checks the guess
_NEAR_CHAOS, _NEAR_COHERENCE = 0.05, 0.02


def _mark_invalid(error: UnicodeError) -> tuple[str | bytes, int]:
    """Stand in for what is no text in the encoding: a byte that is invalid in UTF-8, which readers count.

    UTF-7 can decode to half a surrogate pair, which is no character and fails when it is encoded.
    """
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    assert isinstance(error, UnicodeEncodeError), "nothing else uses it"
    return b"\xff", error.start + 1


codecs.register_error(_INVALID, _mark_invalid)


def transcoded(stream: IO[bytes], encoding: str, path: str) -> io.BufferedReader[Any]:
    """Return the content of `stream` as UTF-8. Bytes that are invalid in `encoding` become the invalid byte 0xFF.

    Reading raises `UserError` for a file that lacks the byte order mark that its encoding needs.
    """
    return io.BufferedReader(_Transcoded(stream, encoding, path), buffer_size=1 << 20)


def guess_encoding(sample: bytes) -> str | None:
    """Return the encoding that the text is probably in, or None when no encoding makes sense of it."""
    from charset_normalizer import from_bytes  # takes a moment to import

    matches = list(from_bytes(sample, threshold=_MOST_CHAOS, enable_fallback=False))
    if not matches or matches[0].encoding in ("ascii", "utf_8"):
        return None
    best = next((match for match in matches if _is_common(match) and _is_near(match, matches[0])), matches[0])
    return "cp1252" if _is_common(best) else best.encoding.replace("_", "-")


def _is_common(match: CharsetMatch) -> bool:
    return "cp1252" in match.could_be_from_charset


def _is_near(match: CharsetMatch, best: CharsetMatch) -> bool:
    """Return whether a match is as likely as the best one: many encodings of Latin letters differ in a few of them."""
    return match.chaos <= best.chaos + _NEAR_CHAOS and match.coherence >= best.coherence - _NEAR_COHERENCE


class _Transcoded(io.RawIOBase):
    def __init__(self, stream: IO[bytes], encoding: str, path: str) -> None:
        self._path = path
        self._encoding = encoding
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_INVALID)
        self._ready = memoryview(b"")
        self._is_at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io hands over a memoryview
        while not self._ready and not self._is_at_end:
            data = self._stream.read(_CHUNK_BYTES)
            self._is_at_end = not data
            text = self._decoded(data)
            self._ready = memoryview(text.encode("utf-8", _INVALID))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeError as error:  # bytes that are invalid are marked: only the start of a file can be wrong
            fix = f'set encoding = "{self._encoding}-le" or "{self._encoding}-be" for this corpus'
            raise UserError(f"not {self._encoding}: {error}", place=self._path, fix=fix) from error

    def close(self) -> None:
        self._stream.close()
        super().close()
