"""Find input files. Paths, folders and globs, on local disks and at URLs, follow the same rules.

A glob stands for the names that it matches, and the name of a folder stands for all files below it. `*` matches within
a name, `**` across folders. Names that begin with `.` or `_` are skipped, because they are caches and job markers,
unless the recipe gives that character: `.cache/*.txt`, `_*`. Links are followed. What cannot be listed or read is an
error.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from configs.errors import UserError
from preprocessing.documents.input_files import SourceFile
from preprocessing.storage import FolderEntry, ListFolder, entry_at, folder_lister, is_url

_WILDCARD = re.compile(r"(\*\*|\*|\?|\[(?:!.|[^!])[^\]]*\])")
_MOST_FOLDERS = 64  # one in another: more are a loop of links, in a file system that does not show it

logger = logging.getLogger(__name__)


def find_files(patterns: Sequence[str], side_files: Sequence[str] = ()) -> list[SourceFile]:
    """Return the files that paths, folders and globs match, sorted by path, each once.

    `side_files` are globs of the names that a format's folders hold beside the data; they are skipped below a folder.
    Raises `UserError` for a pattern that matches no file, for a folder that cannot be listed, and for an entry that is
    neither a file nor a folder: a pipe, which would block forever, a dangling link, or a link to a folder around it.
    """
    found: dict[str, FolderEntry] = {}
    for pattern in patterns:
        files = list(_matches(pattern, side_files))
        if not files:
            fix = "correct data.corpora paths: a file, a folder or a glob such as dump/*.bz2 (** includes subfolders)"
            raise UserError("no such file", place=pattern, fix=fix)
        found.update((file.place, file) for file in files)
    _warn_of_second_names(found.values())
    return sorted((SourceFile(file.place, file.size) for file in found.values()), key=lambda file: file.path)


@dataclass(frozen=True)
class _Pattern:
    """Which files below a folder to take: all of them (no parts), or those that the parts of a glob match."""

    parts: tuple[str, ...] = ()
    side_files: tuple[str, ...] = ()

    @property
    def is_deep(self) -> bool:
        """Whether the pattern matches files at any depth."""
        return not self.parts or any("**" in part for part in self.parts)

    def looks_at(self, names: Sequence[str]) -> bool:
        """Return whether the pattern can match the last of the names, below the others, or something below it."""
        name, depth = names[-1], len(names) - 1
        is_free = depth >= len(self.parts) or any("**" in part for part in self.parts[: depth + 1])
        if name.startswith((".", "_")):
            given = self.parts[depth:] if is_free else (self.parts[depth],)
            if not any(part.startswith(name[0]) for part in given):
                return False
        return is_free or re.fullmatch(_expression(self.parts[depth]), name) is not None

    def takes(self, names: Sequence[str]) -> bool:
        """Return whether the pattern matches the file, or a folder that the file is in."""
        if any(fnmatchcase(names[-1], side_file) for side_file in self.side_files):
            return False
        path = "/".join(names)
        return not self.parts or re.fullmatch(f"{_path_expression(self.parts)}(?:/.*)?", path, re.DOTALL) is not None


def _matches(pattern: str, side_files: Sequence[str]) -> Iterator[FolderEntry]:
    if "\0" in pattern:
        raise UserError(
            "a path cannot hold a NUL", place=pattern.replace("\0", "\\0"), fix="correct data.corpora paths"
        )
    place = pattern if is_url(pattern) else os.path.abspath(os.path.expanduser(pattern))
    place = place.rstrip("/") or place
    entry = entry_at(place)
    if entry is not None and entry.kind != "folder":
        _refuse_special(entry)
        yield entry
        return
    base, parts = (place, ()) if entry is not None else _split(place)
    start = entry_at(base) if parts else entry
    if start is not None and start.kind == "folder":
        rule = _Pattern(parts, tuple(side_files))
        yield from _walk(start, (), rule, folder_lister(base, is_deep=rule.is_deep), frozenset())


def _split(place: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder before the first wildcard, and the parts of the glob below it. No parts: it is no glob."""
    begin = place.find("://") + 3 if is_url(place) else 0
    names = place[begin:].split("/")
    first = next((depth for depth, name in enumerate(names) if _WILDCARD.search(name)), len(names))
    return place[:begin] + "/".join(names[:first]) or "/", tuple(names[first:])


def _walk(
    folder: FolderEntry, names: tuple[str, ...], rule: _Pattern, listed: ListFolder, around: frozenset[object]
) -> Iterator[FolderEntry]:
    """Yield the files below a folder that the rule takes. `around` are the inodes of the folders that it is in."""
    if folder.inode in around or len(names) > _MOST_FOLDERS:
        fix = "remove the link, or name the files to read with a glob that it does not match"
        raise UserError("the link leads to a folder that it is in", place=folder.place, fix=fix)
    around |= {folder.inode} - {None}
    for entry in listed(folder.place):
        below = (*names, entry.name)
        if not rule.looks_at(below):
            continue
        if entry.kind == "folder":
            yield from _walk(entry, below, rule, listed, around)
        elif rule.takes(below):
            _refuse_special(entry)
            yield entry


def _path_expression(parts: Sequence[str]) -> str:
    """Return the regular expression of a glob. A part `**` stands for any number of folders, also none."""
    *folders, last = parts
    return "".join("(?:.*/)?" if part == "**" else _expression(part) + "/" for part in folders) + _expression(last)


def _expression(part: str) -> str:
    """Return the regular expression of a part of a glob. It also matches the name that is written like the part."""
    pieces = enumerate(_WILDCARD.split(part))
    expression = "".join(_expression_of(piece) if place % 2 else re.escape(piece) for place, piece in pieces)
    return f"(?:{expression}|{re.escape(part)})"


def _expression_of(wildcard: str) -> str:
    """Return the regular expression that is equivalent to a wildcard."""
    if not wildcard.startswith("["):
        return {"**": ".*", "*": "[^/]*", "?": "[^/]"}[wildcard]
    negation = "^" if wildcard[1] == "!" else ""
    letters = wildcard[1 + len(negation) : -1].replace("\\", r"\\").replace("^", r"\^")
    return f"[{negation}{letters}]"


def _refuse_special(entry: FolderEntry) -> None:
    if entry.kind == "dangling link":
        cause = "the link is dangling: its target does not exist"
        raise UserError(cause, place=entry.place, fix="correct it or remove it")
    if entry.kind == "pipe or device":
        fix = "write its content to a file"
        raise UserError("this is a pipe or a device, not a file", place=entry.place, fix=fix)


def _warn_of_second_names(files: Iterable[FolderEntry]) -> None:
    """Warn of files that are read under several names, because of links."""
    places: dict[object, str] = {}
    counts: Counter[object] = Counter()
    for file in files:
        if file.inode is not None:
            places[file.inode] = file.place
            counts[file.inode] += 1
    twice = [inode for inode, names in counts.items() if names > 1]
    if twice:
        logger.warning(
            "%d input files are read under several names, because of links, for example %s; name each of them once, "
            'or set data.duplicates="exact"',
            len(twice),
            places[twice[0]],
        )
