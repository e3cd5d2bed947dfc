"""The base class of all recipe sections.

Each component has one section and receives only that section. Derived values (vocabulary size, gradient accumulation,
the DeepSpeed configuration) are not settings. Fields marked `RUNTIME` do not change a data set's bytes; those
marked `LATER` do so only when they are set.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

RUNTIME: dict[str, Any] = {"determines_bytes": False}
LATER: dict[str, Any] = {"omitted_at_default": True}  # keys of later versions: the digests of older data sets stay

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen table of the recipe. An unknown key is an error, and so is a value of the wrong type ("5" for 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)

    def foreign_fields(self) -> tuple[str, ...]:
        """Return the fields that do not apply because of another field's value, and that have their defaults."""
        return ()

    def byte_fields(self) -> dict[str, Any]:
        """Return the fields that determine a data set's bytes (no paths, no workers) as plain JSON values."""
        fields: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("determines_bytes") is False:
                continue
            value = getattr(self, name)
            if isinstance(extra, dict) and extra.get("omitted_at_default") and value == field.get_default():
                continue
            fields[name] = value.byte_fields() if isinstance(value, Section) else value
        return fields


def digest_of(fields: dict[str, Any]) -> str:
    """Return the hexadecimal SHA-256 of plain JSON values in canonical form."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
