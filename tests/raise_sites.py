"""The places of the source that create a `UserError`, and the strings of the tests that assert what they say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LEAST = 9  # characters by which a message is recognised

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Site:
    """A call of `UserError`. `fragments` are the literal parts of its cause or, if it has none, of its fix."""

    file: str
    function: str
    line: int
    fragments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the site in refusals.toml; it stays when lines move."""
        return f"{self.file}:{self.function}: {' … '.join(self.fragments)}"


def sites_of(root: Path, floors: Iterable[str]) -> Iterator[Site]:
    """Yield the sites of all source files."""
    for floor in floors:
        for path in sorted((root / floor).rglob("*.py")):
            yield from sites_in(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())


def sites_in(source: str, file: str) -> Iterator[Site]:
    """Yield the sites of one file."""
    tree = ast.parse(source)
    yield from _visit(tree, tree, "", file)


def _visit(node: ast.AST, scope: ast.AST, name: str, file: str) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inner, inner_name = scope, name
        if isinstance(child, Scope):
            inner, inner_name = child, f"{name}.{child.name}".lstrip(".")
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == "UserError":
            yield Site(file, inner_name, child.lineno, _recognised_by(child, inner))
        yield from _visit(child, inner, inner_name, file)


def _recognised_by(call: ast.Call, scope: ast.AST) -> tuple[str, ...]:
    fixes = [keyword.value for keyword in call.keywords if keyword.arg == "fix"]
    for part in (*call.args[:1], *fixes):
        found = tuple(text for text in map(plain, _literals(part, scope, call.lineno)) if len(text) >= LEAST)
        if found:
            return found
    return ()


def _literals(node: ast.AST, scope: ast.AST, line: int) -> Iterator[str]:
    """Yield the literal parts of an expression; a name stands for its last assignment in the scope before `line`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name):
        assigned = [one for one in ast.walk(scope) if _assigns(one, node.id) and getattr(one, "lineno", line) < line]
        if assigned:
            last = max(assigned, key=lambda one: getattr(one, "lineno", 0))
            yield from _literals(last.value, scope, last.lineno)  # type: ignore[attr-defined]
    else:
        for child in ast.iter_child_nodes(node):
            yield from _literals(child, scope, line)


def _assigns(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)


def asserted_strings(folder: Path) -> set[str]:
    """Return the strings in the test files, docstrings left out; of regular expressions, their literal parts."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                unescaped = re.sub(r"\\(.)", r"\1", node.value)
                found |= {plain(text) for text in (unescaped, *re.split(r"\.[*+]", unescaped))}
    return {text for text in found if len(text) >= LEAST}


def plain(text: str) -> str:
    """Return a text without differences in case and white space, and without the punctuation at its ends."""
    return " ".join(text.split()).strip(" :;,.`'\"").casefold()


def is_asserted(site: Site, strings: Iterable[str]) -> bool:
    """Return whether a string holds a fragment of the site's message, or is a part of one."""
    return any(fragment in text or text in fragment for fragment in site.fragments for text in strings)
