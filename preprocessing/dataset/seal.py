"""The manifest's digest of itself: `manifest_sha256`, its last key.

It is the SHA-256 of the other keys and values as JSON in canonical form (sorted keys, no blanks, UTF-8), so it does not
depend on how the file is formatted.
"""

from __future__ import annotations

import json
from typing import Any

from configs.schema import digest_of

SEAL = "manifest_sha256"


def sealed_text(fields: dict[str, Any]) -> str:
    """Return the content of a manifest file with these fields: JSON that states its own digest."""
    table = {name: value for name, value in fields.items() if name != SEAL}
    return json.dumps({**table, SEAL: digest_of(table)}, indent=1, ensure_ascii=False) + "\n"


def states_its_digest(content: bytes) -> bool:
    """Return whether the content of a manifest file states the digest that it has."""
    table = json.loads(content)
    stated = table.pop(SEAL, None)
    return bool(stated == digest_of(table))
