"""The pages of exit codes and error messages, from the source."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs import exit_codes
from configs.exit_codes import ended_by
from launch.docs.generate.table import code, note, prose, table

ROOT = Path(__file__).parents[3]
PACKAGES = ("configs", "preprocessing", "pretrain", "launch")
_ERRORS = ("UserError", "StoreError", "DamagedShardError")
_ANY = "…"  # a part of a message that depends on the input


@dataclass(frozen=True)
class Message:
    """An error message of the source: its place, its fixed words, and its fix."""

    file: str
    cause: str
    fix: str


def exit_codes_page() -> str:
    """Return the exit codes of every command and rank."""
    codes = re.findall(r"^[A-Z_]+ = (\d+)  # (.*)$", inspect.getsource(exit_codes), re.MULTILINE)
    rows = [(code(number), prose(meaning)) for number, meaning in codes]
    rows.append((code(f"{ended_by(0)} + N"), "ended by signal N before anything new was saved: run the command again"))
    signals = ", ".join(signal.name for signal in exit_codes.STOP_SIGNALS)
    return (
        note("Exit codes", "configs/exit_codes.py")
        + table(("code", "meaning"), rows)
        + f"\nThese signals request a checkpoint and an orderly end: {signals}.\n"
    )


def errors_page() -> str:
    """Return every message that ends a command with exit code 2, by package."""
    parts = [note("Error messages", "every UserError of the source")]
    parts.append(f"A message is `place: cause. Fix.` {_ANY} stands for what depends on the input.\n")
    for package in PACKAGES:
        rows = [(prose(each.cause), prose(each.fix), code(each.file)) for each in messages(package)]
        parts.append(f"## {package}\n\n{table(('message', 'fix', 'raised in'), rows)}")
    return "\n".join(parts)


def messages(package: str) -> list[Message]:
    """Return the messages of a package whose words stand in the source, without duplicates."""
    files = [file for file in sorted((ROOT / package).rglob("*.py")) if ROOT / "launch" / "docs" not in file.parents]
    found = [message for file in files for message in _messages_of(file)]
    return list(dict.fromkeys(found))


def _messages_of(file: Path) -> Iterator[Message]:
    place, tree = file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))
    constants = _constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS and node.args:
            cause = _words(node.args[0], constants)
            fix = next((_words(word.value, constants) for word in node.keywords if word.arg == "fix"), "")
            if cause.strip(f"{_ANY} "):
                yield Message(place, cause, fix)


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the names that the module gives to texts."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {name.id: node.value for node in assigned for name in node.targets if isinstance(name, ast.Name)}


def _words(node: ast.expr, constants: Mapping[str, ast.expr]) -> str:
    """Return the fixed words of a string; an expression in it, or in place of it, becomes `…`."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_words(part, constants) for part in parts)
        case ast.FormattedValue(value=value):
            return _words(value, constants)
        case ast.BinOp(left=left, right=right):
            return _words(left, constants) + _words(right, constants)
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(part for part in (_words(body, constants), _words(other, constants)) if part)
        case ast.Name(id=name) if name in constants:
            return _words(constants[name], {})
    return _ANY
