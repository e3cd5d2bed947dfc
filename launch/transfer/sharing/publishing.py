"""`bertrain push` prints the command that uploads an exported model to the Hugging Face Hub."""

from __future__ import annotations

import shlex
from pathlib import Path

from huggingface_hub import ModelCard

from configs.errors import UserError
from launch.terminal import console

_CARD = "README.md"


def run_push(folder: Path, repository: str) -> None:
    """Print the command. Uploads nothing: whose account it is and what others may see is for its owner to decide.

    Raises `UserError` if the folder is no exported model.
    """
    if not all((folder / name).is_file() for name in (_CARD, "config.json", "model.safetensors")):
        fix = "give the folder that `bertrain export RUN --output DIR` wrote"
        raise UserError("not an exported model with its card", place=str(folder), fix=fix)
    say = console().print
    if ModelCard.load(folder / _CARD).data.license == "unknown":
        say(f"{folder / _CARD} states no license: write one there, or set `license` in the recipe", markup=False)
    say(shlex.join(["hf", "upload", repository, str(folder)]), markup=False, soft_wrap=True)
