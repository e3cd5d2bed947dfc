"""The output folder of a fine-tuning: written seed by seed, so that the same command resumes after a stop."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import atomic_write_text, explain_write_errors, read_bounded
from configs.records import CHECK, with_checksum, without_checksum
from configs.tasks import TaskRecipe
from pretrain.huggingface import Pretrained
from pretrain.transfer import Splits

SETTINGS, RESULT = "settings.json", "result.json"
# More seeds can be added, the machine can change, and published values are only shown.
FREE = ("seeds", "device", "name", "published", "second_published")


@dataclass(frozen=True)
class Seeds:
    """The results of a fine-tuning in their folder, one for each seed that is done."""

    folder: Path

    def result(self, name: str) -> dict[str, Any] | None:
        """Return the result of a trial, or None if it is not done. Raises `UserError` if it is damaged."""
        path = self.folder / name / RESULT
        return _read(path, "remove it: the same command trains its seed again") if path.is_file() else None

    def save(self, name: str, result: dict[str, Any]) -> None:
        """Write the result of a trial, which marks it as done."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.folder / name / RESULT, with_checksum(json.dumps(result, indent=1)) + "\n")


@contextmanager
def open_seeds(output: Path, identity: dict[str, Any]) -> Iterator[Seeds]:
    """Create the folder for the block, or resume in it.

    Raises `UserError` if it holds anything but results of these settings. If a `UserError` ends the block before a seed
    is done, a folder that was created for it is removed: correcting the settings must not need another folder.
    """
    is_new = not output.exists()
    seeds = _open(output, identity)
    try:
        yield seeds
    except UserError:
        if is_new and not results_in(output):
            shutil.rmtree(output)
        raise


def results_in(output: Path) -> list[Path]:
    """Return the files of the trials that are done."""
    return sorted(output.glob(f"**/{RESULT}"))


def _open(output: Path, identity: dict[str, Any]) -> Seeds:
    found = output / SETTINGS
    if found.is_file():
        before = _read(found, "choose another --output, or remove the folder")
        differing = sorted(_differences(before, json.loads(json.dumps(identity))))
        if differing and results_in(output):
            cause = f"the folder holds results of another {differing[0]}"
            raise UserError(cause, place=str(output), fix="choose another --output, or remove the folder")
        if not differing:
            return Seeds(output)
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError("the path exists already", place=str(output), fix="choose another --output, or remove it")
    with explain_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        atomic_write_text(found, json.dumps(identity, indent=1, ensure_ascii=False) + "\n")
    return Seeds(output)


def _read(path: Path, fix: str) -> dict[str, Any]:
    """Return what was written to a file, with a checksum or, by an earlier version, without; metrics can be NaN."""
    try:
        content = read_bounded(path)
        intact = without_checksum(content)
        if intact is None and f'"{CHECK}"'.encode() in content:
            raise ValueError("its content differs from its checksum")
        found = json.loads(intact or content)
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"damaged: {cause}", place=str(path), fix=fix) from error
    return found


def identity_of(source: Pretrained, recipe: TaskRecipe, splits: Splits) -> dict[str, Any]:
    """Return what the results of a seed depend on: settings, and digests of the weights and of all records."""
    task = {name: value for name, value in recipe.task.model_dump().items() if name not in FREE}
    for name in ("data", "validation", "test", "second_test"):
        del task[name]  # the records count, not the place of their files
    parts = {part: of_part.records for part, of_part in splits.parts().items()}
    return {
        "task": task,
        "finetune": {name: value for name, value in recipe.finetune.model_dump().items() if name not in FREE},
        "records": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
        "model": digest_of_weights(source),
    }


def digest_of_weights(source: Pretrained) -> str:
    """Return a digest of a model's weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(source.weights.items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name}"
