"""The contracts between rooms: lint-imports catches each kind of breach, and every room keeps its door and its size."""

from __future__ import annotations

import ast
import importlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure import FLOORS, ROOT, broken_contracts, copy_source

# Packages below a floor that other rooms do not import from.
NO_ROOMS = {
    "launch.bertrain": "the public API, which users import as bertrain",
    "launch.demo": "programs that demo.sh runs",
    "pretrain.kernels.fused": "the Triton half of kernels, which alone loads it",
}

# Each breach: a file, an import that is added to it, and how the name of the contract that it breaks begins.
BREACHES = {
    "a file behind a door": (
        "pretrain/evaluation.py",
        "from pretrain.engine.partition import Fragment",
        "door of pretrain.engine",
    ),
    "a file behind a door, in a function": (
        "launch/terminal.py",
        "def later() -> None:\n    from launch.ranks.supervisor import Supervisor",
        "door of launch.ranks",
    ),
    "a lower floor imports an upper one": (
        "configs/files.py",
        "from preprocessing.dataset import MANIFEST",
        "floors: ",
    ),
    "a lower room imports an upper one": (
        "preprocessing/vocabulary/wordpiece.py",
        "from preprocessing.rows import mask_pairs",
        "rooms of preprocessing",
    ),
    "a circle in a room": (
        "pretrain/engine/partition.py",
        "from pretrain.engine.engine import Engine",
        "siblings never import one another in a circle",
    ),
    "preprocessing imports torch": (
        "preprocessing/rows/masking.py",
        "import torch",
        "preprocessing never imports torch",
    ),
    "pretrain imports Beam": (
        "pretrain/data/loader.py",
        "import apache_beam",
        "the trainer never imports Beam",
    ),
    "pretrain enters another room of preprocessing": (
        "pretrain/data/loader.py",
        "from preprocessing.rows import mask_pairs",
        "pretrain enters preprocessing by dataset, vocabulary, and storage alone",
    ),
}

# Imports one door after the other; prints which of the heavy packages are loaded then.
IMPORT_DOORS = """
import importlib, json, sys
heavy = ("torch", "apache_beam", "pyarrow", "numpy")
loaded = {}
for room in sys.argv[1:]:
    importlib.import_module(room)
    loaded[room] = [name for name in heavy if name in sys.modules]
print(json.dumps(loaded))
"""


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def rooms() -> list[str]:
    """Every package below a floor that has a door."""
    doors = [path for floor in FLOORS for path in (ROOT / floor).rglob("*/__init__.py")]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in doors}
    return sorted(packages - set(NO_ROOMS))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree."""
    return copy_source(tmp_path_factory.mktemp("copy"))


def test_the_source_tree_keeps_every_contract(copy: Path) -> None:
    assert broken_contracts(copy) == []


@pytest.mark.parametrize("breach", BREACHES)
def test_lint_imports_names_the_broken_contract(copy: Path, breach: str) -> None:
    name, line, contract = BREACHES[breach]
    path = copy / name
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        assert [name for name in broken_contracts(copy) if name.startswith(contract)]
    finally:
        path.write_text(before)


def test_every_room_has_a_door_and_a_contract_that_keeps_it() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    for room in rooms():
        assert importlib.import_module(room).__all__, room
        assert f'name = "door of {room}"' in contracts


def test_doors_are_cheap_to_import() -> None:
    argv = [sys.executable, "-c", IMPORT_DOORS, *rooms()]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {room: heavy for room, heavy in json.loads(ended.stdout).items() if heavy} == {}


@pytest.mark.parametrize("room", rooms())
def test_no_exported_name_is_that_of_a_module(room: str) -> None:
    folder = ROOT.joinpath(*room.split("."))
    assert {path.stem for path in folder.glob("*.py")}.isdisjoint(importlib.import_module(room).__all__)


def test_no_folder_holds_more_than_13_modules() -> None:
    folders = {path.parent for path in modules(*FLOORS)}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) - 1 for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > 13} == {}


def test_the_median_file_is_short() -> None:
    lines = [len(path.read_text().splitlines()) for path in modules(*FLOORS) if path.name != "__init__.py"]
    assert statistics.median(lines) < 150


def test_a_function_over_60_lines_gives_its_reason() -> None:
    """The reason is a comment on the line before, or a sentence of the docstring, that says why it is long."""
    unexplained = []
    for path in modules(*FLOORS, "tests"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            before = lines[first - 2] if first > 1 and lines[first - 2].lstrip().startswith("#") else ""
            is_long = (node.end_lineno or 0) - node.lineno >= 60
            if is_long and not re.search(r"\blong\b", f"{before} {ast.get_docstring(node)}"):
                unexplained.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert unexplained == []
