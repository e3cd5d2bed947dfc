"""Folders of this user among those of others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.machine import private_folder


def test_a_planted_folder_is_refused_and_another_tmpdir_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, own = tmp_path / "shared", tmp_path / "own"
    (planted / "caches").mkdir(parents=True)
    (planted / "caches").chmod(0o777)
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(planted))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(UserError, match="another user created this folder") as refused:
        private_folder("caches")
    assert "TMPDIR" in refused.value.fix
    monkeypatch.setenv("TMPDIR", str(own))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert private_folder("caches").stat().st_mode & 0o777 == 0o700
