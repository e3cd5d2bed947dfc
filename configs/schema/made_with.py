"""The settings that made a data set, beside those of the recipe that trains on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from configs.schema.data import DataConfig, settled_fields
from configs.schema.text import TRAINED_ONLY

# The trainer has rules of its own for these: longer rows and larger vocabularies are allowed.
_OWN_RULES = (
    *("objective", "max_seq_length", "vocabulary.size", "vocabulary.lowercase", "vocabulary.strip_accents"),
    "decontaminate_sha256",  # a recipe names the files
)


@dataclass(frozen=True)
class DifferingSetting:
    """A key of `[data]` whose value made the data set and differs from the recipe's."""

    key: str
    of_data_set: str  # as in TOML; empty: unset
    of_recipe: str
    is_stated: bool  # the recipe's value is not the default

    def __str__(self) -> str:
        return f"{self.key} is {self.of_data_set or 'unset'} (recipe: {self.of_recipe or 'unset'})"


def differing_settings(made: dict[str, Any], data: DataConfig) -> list[DifferingSetting]:
    """Return the settings that differ between a manifest's recipe `made` and the recipe's `[data]`.

    Keys with a rule of their own, and keys that the manifest does not state, are left out.
    """
    if not made:
        return []
    theirs, ours = _flat(settled_fields(made)), _flat(data.byte_fields())
    default = {name: field.get_default() for name, field in DataConfig.model_fields.items()}
    default |= _flat(DataConfig().byte_fields()) | {"max_predictions_per_seq": data.most_expected_masks}
    made_with, wanted = default | theirs, default | ours  # keys of later versions are left out at their default
    apart = {*_OWN_RULES, *(f"vocabulary.{name}" for name in TRAINED_ONLY if data.vocabulary.file)}
    return [
        DifferingSetting(f"data.{key}", _toml(made_with[key]), _toml(wanted[key]), wanted[key] != default[key])
        for key in dict.fromkeys((*ours, *theirs))
        if key not in apart and key in default and made_with[key] != wanted[key]
    ]


def recipe_of_data(made: dict[str, Any], data: DataConfig) -> DataConfig:
    """Return the recipe's `[data]` with the settings that made the data set, also where it has rules of its own."""
    settled = {name: value for name, value in settled_fields(made).items() if name != "decontaminate_sha256"}
    table = data.model_dump() | settled
    table["vocabulary"] = data.vocabulary.model_dump() | settled.get("vocabulary", {})
    return DataConfig.model_validate({name: value for name, value in table.items() if name in DataConfig.model_fields})


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    vocabulary = {f"vocabulary.{name}": value for name, value in fields.get("vocabulary", {}).items()}
    return {name: value for name, value in fields.items() if name != "vocabulary"} | vocabulary


def _toml(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
