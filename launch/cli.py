"""The `bertrain` command. What is slow to import is imported inside the command that needs it.

Its exit codes are those of configs/exit_codes.py; an error of the user is one line on standard error.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

import typer

from configs.errors import UserError
from configs.exit_codes import DONE, USER_ERROR, ended_by
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
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pretrain BERT: raw text in at one end, a pretrained, evaluated encoder out at the other.",
    epilog="Everything is a recipe: [cyan]bertrain config demo[/] shows one, with each setting explained. "
    "A command takes a recipe's file or shipped name, then any settings to change: "
    "[cyan]bertrain train demo train.steps=100 name=short[/]",
)

for add_commands in (
    add_data_commands,
    add_training_commands,
    add_jobs_commands,
    add_curves_commands,
    add_transfer_commands,
):
    add_commands(app)


def main() -> NoReturn:
    """Run the command line; an error that the user can fix is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(ended_by(signal.SIGINT))
    sys.exit(DONE)  # typer has exited before


if __name__ == "__main__":
    main()
