"""The page of commands, from the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from launch.cli import app
from launch.docs.generate.table import code, note, prose, table

_EXAMPLE = re.compile(r"^\[dim\](.*)\[/\]$")


def commands_page() -> str:
    """Return every command with its arguments, options and examples."""
    group: Any = typer.main.get_command(app)
    commands = [part for name, command in group.commands.items() for part in _command(name, command)]
    return note("Commands", "bertrain --help") + "\n".join(commands)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## bertrain {name}\n"
    lines = [line.strip() for line in inspect.cleandoc(command.callback.__doc__ or "").splitlines()]
    examples = [found[1] for line in lines if (found := _EXAMPLE.match(line))]
    yield "\n".join(prose(_unescaped(line)) for line in lines if not _EXAMPLE.match(line)) + "\n"
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if shown:
        yield table(("", "default", "meaning"), [_parameter(parameter) for parameter in shown])
    if examples:
        yield "```bash\n" + "\n".join(_unescaped(example) for example in examples) + "\n```\n"


def _parameter(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    names = parameter.metavar or parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    value = "" if is_argument or getattr(parameter, "is_flag", False) else f" {parameter.metavar or ''}".rstrip()
    default = "" if callable(parameter.default) or not parameter.default else code(str(parameter.default))
    required = "required" if parameter.required else default
    return code(f"{names}{value}"), required, prose(_unescaped(getattr(parameter, "help", "") or ""))


def _unescaped(text: str) -> str:
    """Return a help text without the markup of Rich."""
    return re.sub(r"(?<!\\)\[/?(?:dim|bold|cyan)?\]", "", text).replace("\\[", "[")
