"""Records that a program wrote earlier prove that they are undamaged."""

from __future__ import annotations

import pytest

from configs.records import SEALED, is_seal_broken, sealed, with_checksum, without_checksum


@pytest.mark.parametrize("place", range(0, len(b'{"a": 17, "check": "00000000"}\n'), 3))
def test_a_changed_byte_is_noticed(place: int) -> None:
    text = '{"a": 17}'
    line = (with_checksum(text) + "\n").encode()
    assert without_checksum(line) == text.encode()
    changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
    assert without_checksum(changed) is None
    assert without_checksum(text.encode()) is None


TOML = '# The name.\nname = "a"\n\n[train]\n# Steps.\nsteps = 4\n'


@pytest.mark.parametrize("length", range(len(sealed(TOML))))
def test_a_sealed_file_that_is_cut_anywhere_is_noticed(length: int) -> None:
    assert not is_seal_broken(sealed(TOML))
    cut = sealed(TOML)[:length]
    assert is_seal_broken(cut) is (cut.strip() != sealed(TOML).strip())


@pytest.mark.parametrize(
    "changed",
    [
        sealed(TOML).replace("steps = 4", "steps = 5"),
        sealed(TOML).replace("steps = 4\n", ""),
        sealed(TOML).removeprefix(SEALED),
        sealed(TOML) + "steps = 5\n",
        "\n",
    ],
)
def test_an_edit_of_a_sealed_file_is_noticed(changed: str) -> None:
    assert is_seal_broken(changed)


def test_a_file_without_both_lines_of_the_seal_was_written_by_hand() -> None:
    assert not is_seal_broken(TOML)
    assert "".join(sealed(TOML).splitlines(keepends=True)[1:-1]) == TOML
