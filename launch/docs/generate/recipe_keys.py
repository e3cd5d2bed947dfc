"""The page of recipe keys, from the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from configs.keys import section_of
from configs.recipe import range_of, toml_value
from configs.schema import Recipe, Section
from configs.tasks import TaskRecipe
from launch.docs.generate.table import code, note, prose, table


def recipe_page() -> str:
    """Return every key of a recipe, by section."""
    head = note("Recipe keys", "configs/schema") + (
        "A recipe is a TOML file. `base` names the recipe, a shipped one or a path, whose values it changes; the "
        "command line sets a key as `section.key=value`. `bertrain config RECIPE` prints these keys with the "
        "recipe's values.\n\n"
    )
    return head + "\n".join(_sections(Recipe, ""))


def task_page() -> str:
    """Return every key of a task recipe, by section."""
    head = note("Task recipe keys", "configs/transfer.py")
    return head + "For `bertrain finetune` and `bertrain evaluate --tasks`.\n\n" + "\n".join(_sections(TaskRecipe, ""))


def _sections(section: type[Section], path: str) -> Iterator[str]:
    plain = {name: field for name, field in section.model_fields.items() if section_of(field) is None}
    if plain:
        rows = [_row(name, field) for name, field in plain.items()]
        yield table(("key", "default", "meaning"), rows)
    for name, field in section.model_fields.items():
        nested = section_of(field)
        if nested is not None:
            full = f"{path}{name}"
            is_list = isinstance(field.annotation, type) is False and "list" in str(field.annotation)
            title = f"[[{full}]]" if is_list else f"[{full}]"
            yield f"## {code(title)}\n\n{prose(field.description or '')}\n"
            yield from _sections(nested, f"{full}.")


def _row(name: str, field: FieldInfo) -> tuple[str, str, str]:
    return code(name), _default(field), prose(f"{field.description or ''}{range_of(field)}")


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return "unset" if value is None else code(toml_value(value))
