"""A case: a command that is refused, and the fix that its message prints. And what damages the folder before it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch import cli

Damage = Callable[[Path], object]
COMMAND = r"`bertrain ([^`]+)`"
SHORT = {"-o": "--output"}


def nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A command that is refused after `damage`, the words of its message, and the pattern of the fix to apply.

    `as_argument` is what the fix becomes in the command, with what the user fills in; it takes the place of the same
    setting or option, or of the arguments that `instead_of` matches. If it is None, the fix is a command. A fix that is
    neither is done by `edit`. {folder} stands for the working directory. `site` names the place in the source that
    makes the message, if `says` has no literal part of it. `lacks` is a package that is not installed, and
    `environment` are variables.
    """

    command: str
    says: str
    fix: str
    damage: Damage = nothing
    as_argument: str | None = "{}"
    instead_of: str = ""
    edit: Damage | None = None
    site: str = ""
    lacks: str = ""
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.command}-{self.fix}"


def run(folder: Path, arguments: Sequence[str], capture: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run `bertrain ARGUMENTS` in this process; return its exit code, standard output and error.

    A process of its own would import torch and Beam each time. Ranks are processes of their own here, too.
    """
    before, environment, argv, umask = Path.cwd(), os.environ.copy(), sys.argv, os.umask(0o022)
    os.chdir(folder)
    sys.argv = ["bertrain", *arguments]
    capture.readouterr()
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
        sys.argv = argv
        os.umask(umask)
        os.environ.clear()
        os.environ.update(environment)
    said = capture.readouterr()
    return int(code or 0), said.out, said.err


def check(case: Case, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
    """Check that the case's command is refused, and that it passes once the printed fix is applied."""
    case.damage(folder)
    arguments = shlex.split(case.command.replace("{folder}", str(folder)))
    with pytest.MonkeyPatch.context() as patch:
        if case.lacks:
            patch.setitem(sys.modules, case.lacks, None)
        for name, value in case.environment:
            patch.setenv(name, value.replace("{folder}", str(folder)))
        code, out, err = run(folder, arguments, capture)
        said = next((line for line in reversed(err.splitlines()) if line.startswith("error: ")), err or out)
        assert code == 2, out + err
        assert case.says in said, said
        found = re.search(case.fix, said, re.IGNORECASE)
        assert found, said
        fix = found[found.lastindex or 0]
        if case.edit is not None:
            case.edit(folder)
        if case.as_argument is not None and not (case.edit and case.as_argument == "{}"):
            argument = case.as_argument.replace("{folder}", str(folder)).replace("{}", fix)
            arguments = replaced(arguments, argument, case.instead_of)
        elif case.edit is None:
            passes(folder, shlex.split(fix.replace("RECIPE", "recipe.toml").replace("=N", "=14")), capture)
        passes(folder, arguments, capture)


def passes(folder: Path, arguments: Sequence[str], capture: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(folder, arguments, capture)
    assert code == 0, f"{shlex.join(arguments)}\n{out}{err}"


def replaced(arguments: Sequence[str], fix: str, instead_of: str = "") -> list[str]:
    """Return the arguments with this setting or option, in place of the same one if it is there."""
    if instead_of:
        at = next(place for place, one in enumerate(arguments) if re.fullmatch(instead_of, one))
        others = [[] if re.fullmatch(instead_of, one) else [one] for one in arguments]
        return [word for place, words in enumerate(others) for word in (shlex.split(fix) if place == at else words)]
    if not fix:
        return list(arguments)
    name, *value = shlex.split(fix)
    key = SHORT.get(name, name).partition("=")[0]
    if value and key in (names := [SHORT.get(one, one) for one in arguments]):
        at = names.index(key)
        return [*arguments[: at + 1], *value, *arguments[at + 2 :]]
    return [*(one for one in arguments if one.partition("=")[0] != key), name, *value]


def edit(name: str, old: str, new: str) -> Damage:
    """Return a damage that replaces text in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def write(name: str, content: str | bytes) -> Damage:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def each(*damages: Damage) -> Damage:
    """Return a damage that does all of these."""

    def change(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return change


def without(name: str) -> Damage:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def encoded(encoding: str, text: str = "") -> Damage:
    """Return a damage that writes corpus.txt anew in another encoding, with this text in front."""

    def change(folder: Path) -> None:
        corpus = folder / "corpus.txt"
        corpus.write_bytes((text + corpus.read_text()).encode(encoding))

    return change


def with_rows(*rows: dict[str, object], **task: object) -> Damage:
    """Return a damage that writes a task and its records."""

    def change(folder: Path) -> None:
        (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"data": "task.jsonl"} | task
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items() if "." not in key)
        (folder / "task.toml").write_text(f'[task]\n{lines}[finetune]\nseeds = 1\nepochs = 1\ndevice = "cpu"\n')

    return change
