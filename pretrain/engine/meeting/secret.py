"""The secret that the ranks of several nodes share, and the key that signs the values of one rendezvous.

BERTRAIN_SECRET        the secret, in the private environment of a job's ranks
RUN/.secret            the secret of machines that a user starts one by one (--nnodes, torchrun), readable by its
                       owner only
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from configs.errors import UserError
from configs.files import explain_write_errors

SECRET, SECRET_FILE = "BERTRAIN_SECRET", ".secret"
SECRET_BYTES = 32
WRITTEN_S = 10.0  # within which the rank that made the file has written it
SHORTEST_SECRET = 16  # characters; a shorter one can be guessed


def key_of(run: Path | None) -> bytes:
    """Return the key for this rendezvous, made from the secret of the environment or of the run's folder."""
    secret = os.environ.get(SECRET) or (secret_of(run) if run else "")
    if len(secret) < SHORTEST_SECRET:
        fix = f"export the same {SECRET} on all nodes, e.g. from `openssl rand -hex 32`"
        raise UserError("ranks on several nodes need a secret in common", place=SECRET, fix=fix)
    names = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "WORLD_SIZE")
    place = "\0".join(os.environ.get(name, "") for name in names)
    return hmac.digest(secret.encode(), place.encode(), hashlib.sha256)


def secret_of(run: Path) -> str:
    """Return the secret in a run's folder, which its ranks share. The first rank that needs it makes it."""
    file = run / SECRET_FILE
    with explain_write_errors(run), suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(SECRET_BYTES))
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError("others can read or have made this file", place=str(file), fix="remove it, and start again")
    deadline = time.monotonic() + WRITTEN_S
    while len(secret := file.read_text(encoding="utf-8")) < 2 * SECRET_BYTES and time.monotonic() < deadline:
        time.sleep(0.05)
    return secret
