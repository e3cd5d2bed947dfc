"""Where a task's parts are: files that the task names, or those of a folder with the usual names."""

from __future__ import annotations

from pathlib import Path

from configs.errors import UserError
from configs.files import read_bounded
from configs.records import parse_object
from configs.transfer import TaskConfig
from pretrain.transfer.tables import STATE, refuse_folder

DICTIONARY = "dataset_dict.json"  # of a folder that `DatasetDict.save_to_disk` wrote
SECOND_TEST = "second_test"
USUAL = {  # stems of file names, in lower case
    "training": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "eval"),
}


def find_parts(task: TaskConfig) -> dict[str, Path]:
    """Return the path of the training part, and of those of the other parts that are given."""
    data = Path(task.data)
    found = _in_folder(data) if data.is_dir() and not (data / STATE).is_file() else {"training": data}
    named = {"validation": task.validation, "test": task.test, SECOND_TEST: task.second_test}
    return found | {part: Path(path) for part, path in named.items() if path is not None}


def _in_folder(folder: Path) -> dict[str, Path]:
    if (folder / DICTIONARY).is_file():
        try:
            names = list(parse_object(read_bounded(folder / DICTIONARY))["splits"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"a damaged `datasets` folder: {error}", place=str(folder), fix="write it again") from error
    else:
        names = [path.name for path in folder.iterdir() if path.is_file()]
    found: dict[str, Path] = {}
    for part, stems in USUAL.items():
        matching = sorted(name for name in names if name.lower().split(".")[0] in stems)
        if len(matching) > 1:
            cause = f"several files for {part}: {', '.join(matching)}"
            raise UserError(cause, place=str(folder), fix="give one of its files instead of the folder")
        if matching:
            found[part] = folder / matching[0]
    if "training" not in found:
        refuse_folder(folder)
    return found
