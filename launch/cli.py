"""The `bertrain` command. What is slow to import is imported inside the command that needs it.

Exit codes: 0 done, 2 the user's input is wrong (one line on standard error), 75 stopped on request, with a
checkpoint or finished groups, 130 interrupted, 1 anything else.
"""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import typer

from configs.errors import UserError
from launch.commands import (
    add_curves_commands,
    add_data_commands,
    add_jobs_commands,
    add_training_commands,
    add_transfer_commands,
)

USER_ERROR, INTERRUPTED = 2, 130

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
    """Run the command line; what the user can mend is told in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)  # typer has exited before


if __name__ == "__main__":
    main()
