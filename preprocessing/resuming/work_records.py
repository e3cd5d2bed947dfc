"""Small records that a preparation leaves for a rerun. Each states a checksum, so that damage is noticed."""

from __future__ import annotations

from typing import Any

from configs.records import parse_line, record_line
from preprocessing.storage import Store


def write_record(store: Store, name: str, record: dict[str, Any]) -> None:
    """Write a record that is not empty."""
    store.write_text(name, record_line(record) + "\n")


def read_record(store: Store, name: str) -> dict[str, Any] | None:
    """Return a record: an empty one if the file does not exist, None if it is damaged.

    A record of version 0.1 has no checksum and no line break at its end.
    """
    content = store.read(name)
    return {} if content is None else parse_line(content.rstrip() + b"\n")
