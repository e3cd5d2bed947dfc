from __future__ import annotations

import pickle

import pytest

from configs.errors import UserError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no such file"), "no such file."),
        (UserError("no such file", place="a.toml"), "a.toml: no such file."),
        (UserError("no such file.", place="a.toml", fix="make it."), "a.toml: no such file. Make it."),
        (UserError("unknown key", fix="did you mean `x`?"), "unknown key. Did you mean `x`?"),
        (UserError("cut", fix="data.workers=1 helps"), "cut. data.workers=1 helps."),
        (UserError("two\nlines", place="a\r\nfile", fix="and\u2028more"), "a file: two lines. and more."),
        (UserError("gone", place="two  blanks/x"), "two  blanks/x: gone."),
    ],
)
def test_an_error_is_one_line_of_complete_sentences(error: UserError, line: str) -> None:
    assert str(error) == line


def test_an_error_survives_pickling() -> None:
    error = UserError("cause", place="place", fix="remedy")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - as multiprocessing does
    assert (copy.cause, copy.place, copy.fix, str(copy)) == ("cause", "place", "remedy", str(error))
