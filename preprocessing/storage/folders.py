"""List folders, on local disks and at URLs, by one rule: what cannot be listed is an error, never an empty folder."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from configs.errors import UserError
from preprocessing.storage.file_systems import attempt, is_object_store, is_url

Kind = Literal["file", "folder", "dangling link", "pipe or device"]


@dataclass(frozen=True)
class FolderEntry:
    """A file or a folder. Links are followed."""

    place: str  # path or URL
    kind: Kind
    size: int = 0  # bytes, as stored
    inode: tuple[int, int] | None = None  # device and inode: the same for two names of one file. None: unknown

    @property
    def name(self) -> str:
        """The last part of the place."""
        return self.place.rpartition("/")[2]


# Takes a folder and returns its entries, sorted by name.
ListFolder = Callable[[str], list[FolderEntry]]


def entry_at(place: str) -> FolderEntry | None:
    """Return what is at a path or URL, or None when there is nothing. A URL can name a folder that holds no file."""
    if not is_url(place):
        return _local_entry(place)
    try:
        return _url_entry(place, attempt(place, lambda system, path: system.info(path)))
    except FileNotFoundError:
        return None


def folder_lister(place: str, *, is_deep: bool) -> ListFolder:
    """Return a function that lists folders below `place`. `is_deep`: all of them will be listed.

    Raises `UserError`, also when the function is called, for a folder that cannot be listed.
    """
    if is_url(place) and is_object_store(place) and is_deep:
        return _listed_at_once(place)
    return _list_url if is_url(place) else _list_local


def _list_local(folder: str) -> list[FolderEntry]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        fix = "grant permission to list it, or name the files to read in data.corpora paths"
        raise UserError(f"cannot list the folder: {error.strerror}", place=folder, fix=fix) from error
    entries = (_local_entry(os.path.join(folder, name)) for name in names)
    return [entry for entry in entries if entry is not None]  # None: another process has removed the file


def _local_entry(path: str) -> FolderEntry | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return FolderEntry(path, "dangling link") if os.path.islink(path) else None
    except OSError as error:
        fix = "check the path and its permissions"
        raise UserError(f"cannot read: {error.strerror}", place=path, fix=fix) from error
    inode = (found.st_dev, found.st_ino)
    if stat.S_ISDIR(found.st_mode):
        return FolderEntry(path, "folder", inode=inode)
    return FolderEntry(path, "file" if stat.S_ISREG(found.st_mode) else "pipe or device", found.st_size, inode)


def _list_url(folder: str) -> list[FolderEntry]:
    entries = attempt(folder, lambda system, path: _other_entries(system, path))
    found = []
    for name, entry in entries.items():
        url = f"{folder}/{name}"
        target = entry_at(url) if entry["type"] == "link" else _url_entry(url, entry)
        found.append(target or FolderEntry(url, "dangling link"))
    return sorted(found, key=lambda entry: entry.place)


def _other_entries(system: Any, path: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a folder by name, except its placeholder, which the consoles of object stores create."""
    entries = {entry["name"].rstrip("/"): entry for entry in system.ls(path, detail=True)}
    return {name.rpartition("/")[2]: entry for name, entry in entries.items() if name != path.rstrip("/")}


def _url_entry(url: str, entry: dict[str, Any]) -> FolderEntry:
    kinds: dict[str, Kind] = {"file": "file", "directory": "folder"}
    return FolderEntry(url, kinds.get(entry["type"], "pipe or device"), int(entry.get("size") or 0))


def _listed_at_once(folder: str) -> ListFolder:
    """List an object store with one request per thousand files, whatever their folders."""

    def find(system: Any, path: str) -> list[tuple[str, int]]:
        prefix = f"{path.rstrip('/')}/"
        entries = system.find(path, detail=True).values()
        files = (entry for entry in entries if entry["name"].startswith(prefix) and not entry["name"].endswith("/"))
        return [(entry["name"].removeprefix(prefix), int(entry["size"])) for entry in files]

    folders: defaultdict[str, dict[str, FolderEntry]] = defaultdict(dict)
    for name, size in attempt(folder, find):
        parts = name.split("/")
        places = [folder, *(f"{folder}/{'/'.join(parts[:depth])}" for depth in range(1, len(parts)))]
        for parent, child in pairwise(places):
            folders[parent].setdefault(child, FolderEntry(child, "folder"))
        folders[places[-1]][f"{folder}/{name}"] = FolderEntry(f"{folder}/{name}", "file", size)
    return lambda place: sorted(folders[place].values(), key=lambda entry: entry.place)
