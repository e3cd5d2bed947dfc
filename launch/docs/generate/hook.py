"""Add the generated pages to the site. A hook of MkDocs: launch/mkdocs.yml names this file."""

from __future__ import annotations

from collections.abc import Callable

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from launch.docs.generate.commands import commands_page
from launch.docs.generate.errors import errors_page, exit_codes_page
from launch.docs.generate.formats import formats_page
from launch.docs.generate.metrics import metrics_page
from launch.docs.generate.recipe_keys import recipe_page, task_page

PAGES: dict[str, Callable[[], str]] = {
    "reference/recipe.md": recipe_page,
    "reference/tasks.md": task_page,
    "reference/commands.md": commands_page,
    "reference/metrics.md": metrics_page,
    "reference/formats.md": formats_page,
    "reference/exit_codes.md": exit_codes_page,
    "reference/errors.md": errors_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the site's files with the generated pages among them."""
    for place, page in PAGES.items():
        files.append(File.generated(config, place, content=page()))
    return files
