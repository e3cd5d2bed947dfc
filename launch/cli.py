"""The `bertrain` command. Slow imports are inside the commands that need them.

configs/exit_codes.py defines the exit codes. A user's error is printed as one line on standard error.
"""

from __future__ import annotations

import errno
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

from configs.machine import ctrl_c_ends_silently

with ctrl_c_ends_silently():  # while it imports
    import typer

    from configs.errors import UserError
    from configs.exit_codes import DONE, USER_ERROR, ended_by
    from configs.machine import missing_packages_explained, never_fail_to_encode
    from launch.commands import (
        add_curves_commands,
        add_data_commands,
        add_jobs_commands,
        add_training_commands,
        add_transfer_commands,
    )

app = typer.Typer(
    name="bertrain",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pretrain BERT-style encoders on your own text: prepare a data set, train, evaluate, export.",
    epilog="A recipe is a TOML file with all settings of a data set and a run. Commands take the path of a recipe or "
    "the name of a shipped one, followed by settings to change.\n\n"
    "[dim]bertrain recipes[/]\n\n[dim]bertrain config demo train.steps=100 name=short[/]",
)

for add_commands in (
    add_data_commands,
    add_training_commands,
    add_jobs_commands,
    add_curves_commands,
    add_transfer_commands,
):
    add_commands(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"bertrain {importlib.metadata.version('bertrain')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `bertrain` itself; the application's help is above."""


@contextmanager
def _full_output_explained() -> Iterator[None]:
    """Raise `UserError` if standard output is a file on a full disk. What it holds by then is incomplete."""
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:
        if error.filename or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes the rest at the exit
        fix = "free some space, or write to another disk, and run the same command again"
        raise UserError(f"cannot write: {os.strerror(error.errno)}", place="standard output", fix=fix) from error


def main() -> NoReturn:
    """Run the command line. Print an error that the user can fix as one line."""
    never_fail_to_encode()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with missing_packages_explained(), _full_output_explained():
            app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(ended_by(signal.SIGINT))
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the exit shows no traceback
    sys.exit(DONE)  # not reached: typer exits by itself


if __name__ == "__main__":
    main()
