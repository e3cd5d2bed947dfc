"""Text in other encodings becomes UTF-8 while it is read, and the encoding of a sample is recognised."""

from __future__ import annotations

import io
from contextlib import suppress
from encodings.aliases import aliases

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.encodings import guess_encoding, transcoded

RUSSIAN = "Москва является столицей Российской Федерации. В городе живёт более двенадцати миллионов человек. " * 20
FRENCH = "L'été dernier, nous avons visité la forêt près de chez ma grand-mère; c'était très agréable à voir. " * 20
POLISH = "Zażółć gęślą jaźń, mówił król do żony. " * 20
TURKISH = "Türkiye'nin başkenti Ankara'dır, İstanbul en büyük şehridir. " * 20
GREEK = "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας. " * 20
JAPANESE = "これは日本語の文章です。東京は日本の首都であり、多くの人が住んでいます。" * 20
CHINESE = "北京是中华人民共和国的首都，也是全国的政治中心和文化中心。城市人口超过两千万。" * 30


@given(st.text(max_size=200), st.sampled_from(["utf-16", "utf-16-le", "utf-32-be", "gb18030", "utf-7", "utf-8"]))
def test_every_text_is_converted(text: str, encoding: str) -> None:
    assert transcoded(io.BytesIO(text.encode(encoding, "replace")), encoding, "a.txt").read() == text.encode()


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (b"a\x98b", "cp1251", b"a\xffb"),
        (b"a\xff\xffb", "gbk", b"a\xff"),
        (b"a\0\0\xdcb\0", "utf-16-le", b"a\xffb"),
        (b"a\0b", "utf-16-le", b"a\xff"),
        (b"a+2AA-b", "utf-7", b"a\xffb"),
    ],
)
def test_bytes_that_the_encoding_does_not_define_become_invalid_utf8(
    content: bytes, encoding: str, expected: bytes
) -> None:
    assert transcoded(io.BytesIO(content), encoding, "a.txt").read().startswith(expected)


ALL_BYTES = bytes(range(256)) * 4 + b"+2AA- ~{!!~} \x1b$B!! \\ud800"


def test_every_encoding_that_a_recipe_can_name_reads_any_bytes() -> None:
    """Also codecs that are not for text files, which a recipe cannot name: they fail, or decode everything."""
    refused = []
    for name in sorted(set(aliases.values()) | {"unicode_escape", "raw_unicode_escape", "punycode", "idna"}):
        try:
            CorpusConfig(paths=["a.txt"], format="text", encoding=name)
        except ValidationError:
            refused.append(name)
            continue
        with suppress(UserError):  # it lacks a byte order mark
            transcoded(io.BytesIO(ALL_BYTES), name, "a.txt").read().decode(errors="replace")
    assert {"rot_13", "hex_codec", "zlib_codec", "idna", "punycode", "unicode_escape"} < set(refused)
    assert {"latin_1", "cp1251", "gbk", "utf_7", "hz", "utf_16", "shift_jis"}.isdisjoint(refused)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (FRENCH, "latin-1"),
        (FRENCH, "cp1252"),
        (POLISH, "cp1250"),
        (TURKISH, "cp1254"),
        (GREEK, "cp1253"),
        (JAPANESE, "shift-jis"),
        (CHINESE, "gbk"),
        (CHINESE, "big5"),
    ],
)
def test_a_guessed_encoding_reads_the_text(text: str, encoding: str) -> None:
    content = text.encode(encoding, "ignore")
    guess = guess_encoding(content)
    assert guess is not None
    assert content.decode(guess) == content.decode(encoding)


@pytest.mark.parametrize("content", [b"plain", RUSSIAN.encode(), bytes(range(128, 256)) * 50])
def test_no_other_encoding_is_guessed_for_utf8_and_noise(content: bytes) -> None:
    assert guess_encoding(content) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_without_the_byte_order_mark_that_it_needs_is_an_error(encoding: str) -> None:
    content = RUSSIAN.encode(f"{encoding}-be")
    with pytest.raises(UserError, match="BOM") as raised:
        transcoded(io.BytesIO(content), encoding, "a.txt").read()
    assert (raised.value.place, f'"{encoding}-be"' in raised.value.fix) == ("a.txt", True)
    assert transcoded(io.BytesIO(content), f"{encoding}-be", "a.txt").read() == RUSSIAN.encode()
