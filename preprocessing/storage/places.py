"""The store for a path or URL."""

from __future__ import annotations

from pathlib import Path

from configs.errors import UserError
from preprocessing.storage.file_systems import attempt, is_url
from preprocessing.storage.local_store import LocalStore
from preprocessing.storage.store import Store
from preprocessing.storage.url_store import UrlStore


def store_at(place: str | Path) -> Store:
    """Return the store at a path or URL, which need not exist yet.

    Raises `UserError` when the path is a file, or when no installed library supports the URL's scheme.
    """
    if is_url(str(place)):
        attempt(str(place), lambda system, path: None)
        return UrlStore(str(place).rstrip("/"))
    folder = Path(place).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError("this is a file, not a folder", place=str(folder), fix="choose another data.dataset")
    return LocalStore(folder)
