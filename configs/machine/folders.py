"""Folders of this user in a temporary folder that all users share.

Another user can have planted a link or a folder of the expected name there. Such a folder is refused, never followed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from configs.errors import UserError
from configs.files import explain_write_errors


def private_folder(name: str) -> Path:
    """Return this user's folder of this name in the node's temporary folder. Creates it if it is missing."""
    folder = Path(tempfile.gettempdir()) / name
    make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Create a folder that only this user can enter. Raises `UserError` if the existing one is a link or is not so."""
    with explain_write_errors(folder):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError(
            "another user created this folder or can access it",
            place=str(folder),
            fix="set TMPDIR to a folder of yours",
        )
