"""The proposed recipe as TOML, with a comment for each choice."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.files import atomic_write_text, explain_write_errors
from configs.recipe import load_recipe
from launch.proposal.corpus import Found, examine
from launch.proposal.shape import Shape, choose_shape
from launch.ranks import this_machine

MIB = 1 << 20
PURPOSES = {
    "data.vocabulary": 'trained on the corpus; or file = "vocab.txt"',
    "model": "the shape; `bertrain plan` estimates its cost",
    "train": "how long, and how many rows per step",
    "cluster": "the devices of a node",
}


def write_proposal(paths: Sequence[str], output: Path) -> list[str]:
    """Write a recipe for the text at `paths` to `output`, and return what was found, in sentences.

    Raises `UserError` if the file exists, or the text is not understood.
    """
    if output.exists():
        raise UserError("the file exists already", place=str(output), fix="choose another --output, or remove it")
    found = examine(paths)
    shape = choose_shape(this_machine().gpus, found.text_bytes)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", output.stem).lstrip("._-") or "mine"
    text = proposal(paths, name, found, shape)
    with explain_write_errors(output.parent):
        atomic_write_text(output, text)
    load_recipe(output)  # what was written is valid
    quoted = shlex.quote(str(output))
    return [
        f"{found.files:,} file(s), {found.bytes / MIB:,.1f} MiB of {found.format}, language {found.language}",
        shape.reason,
        f"wrote {output}; next: `bertrain prepare {quoted}`, `bertrain train {quoted}`",
    ]


def proposal(paths: Sequence[str], name: str, found: Found, shape: Shape) -> str:
    """Return the recipe."""
    corpus = {"paths": list(paths), "format": found.format, **found.settings}
    lines = [
        f"# {shape.reason}. `bertrain config {name}.toml` prints every key with its meaning.",
        f'base = "{shape.base}"  # a recipe that comes with the package: `bertrain recipes` lists them',
        f'name = "{name}"  # of the run, in runs/{name}',
        *("", "[data]", f'dataset = "datasets/{name}"  # `bertrain prepare` writes it'),
        f'language = "{found.language}"  # guessed from the text; it decides how sentences end',
        *("", f"# {found.files:,} file(s), {found.bytes / MIB:,.1f} MiB as stored", "[[data.corpora]]"),
        *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in corpus.items()),
    ]
    for section, keys in shape.sections.items():
        lines += ["", f"[{section}]  # {PURPOSES[section]}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"
