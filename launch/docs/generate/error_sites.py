"""The places of the source that create an error for the user, and the words of their messages.

The page of error messages shows them, and a test asks for each one whether a test asserts what it says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ANY = "…"  # a part of a message that depends on the input
OR = " / "  # between the alternatives of a message

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class ErrorSite:
    """A call that creates an error: its place, and the words of its cause and of its fix."""

    file: str
    function: str
    line: int
    cause: str
    fix: str


def error_sites(root: Path, packages: Iterable[str], errors: Iterable[str] = ("UserError",)) -> Iterator[ErrorSite]:
    """Yield the sites of all source files, for calls of these `errors`. The pages' own generators are left out."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if root / "launch" / "docs" not in path.parents:
                yield from sites_in(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix(), errors)


def sites_in(source: str, file: str, errors: Iterable[str] = ("UserError",)) -> Iterator[ErrorSite]:
    """Yield the sites of one file."""
    tree = ast.parse(source)
    yield from _visit(tree, (tree,), "", file, frozenset(errors))


def _visit(
    node: ast.AST, scopes: tuple[ast.AST, ...], name: str, file: str, errors: frozenset[str]
) -> Iterator[ErrorSite]:
    for child in ast.iter_child_nodes(node):
        inner, inner_name = scopes, name
        if isinstance(child, Scope):
            inner, inner_name = (child, *scopes), f"{name}.{child.name}".lstrip(".")
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in errors:
            fixes = [keyword.value for keyword in child.keywords if keyword.arg == "fix"]
            cause, fix = (
                "".join(_words(part, inner, child.lineno) for part in parts) for parts in (child.args[:1], fixes)
            )
            yield ErrorSite(file, inner_name, child.lineno, cause, fix)
        yield from _visit(child, inner, inner_name, file, errors)


def _words(node: ast.expr, scopes: tuple[ast.AST, ...], line: int) -> str:
    """Return the fixed words of a text; what depends on the input becomes `ANY`.

    A name stands for its last assignment before `line`, in the function or else in the module.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_words(part, scopes, line) for part in parts)
        case ast.FormattedValue(value=value):
            return _words(value, scopes, line)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _words(left, scopes, line) + _words(right, scopes, line)
        case ast.IfExp(body=body, orelse=other):
            return OR.join(part for part in (_words(body, scopes, line), _words(other, scopes, line)) if part)
        case ast.Name(id=name):
            for scope in scopes:
                before = [one for one in _assignments(scope, name) if one.lineno < line]
                if before:
                    last = max(before, key=lambda one: one.lineno)
                    return _words(last.value, scopes, last.lineno)
    return ANY


def _assignments(scope: ast.AST, name: str) -> Iterator[ast.Assign]:
    """Yield the assignments to a name in this scope. Names of the functions and classes in it are others."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            yield node
        if not isinstance(node, Scope):
            yield from _assignments(node, name)
