"""Records that a program wrote earlier prove that they are undamaged."""

from __future__ import annotations

import pytest

from configs.records import with_checksum, without_checksum


@pytest.mark.parametrize("place", range(0, len(b'{"a": 17, "check": "00000000"}\n'), 3))
def test_a_changed_byte_is_noticed(place: int) -> None:
    text = '{"a": 17}'
    line = (with_checksum(text) + "\n").encode()
    assert without_checksum(line) == text.encode()
    changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
    assert without_checksum(changed) is None
    assert without_checksum(text.encode()) is None
