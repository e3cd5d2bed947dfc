"""bertrain's packages have everyday names. A folder of the user's that hides one of them is named at once."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

OWN_PACKAGES = ("configs", "preprocessing", "pretrain", "launch")


def check_own_packages() -> None:
    """Raise `ImportError` when Python finds another folder or module under the name of one of bertrain's packages.

    It happens where Python searches the working directory first, as it does in notebooks.
    """
    home = _home()
    for name in OWN_PACKAGES:
        found = _location(name)
        if os.path.realpath(found) != os.path.realpath(home / name):
            raise ImportError(
                f"{found} hides the package `{name}` of bertrain in {home}. Rename it, or start Python "
                "or the notebook in another folder. Scripts can run with `python -P` instead.",
                name=name,
                path=found,
            )


def _home() -> Path:
    """The folder of all packages: beside this one where bertrain is installed, or above launch/ in a checkout."""
    beside, *above = Path(__file__).parents[1:3]
    return beside if (beside / OWN_PACKAGES[0]).is_dir() else above[0]


def _location(name: str) -> str:
    """The folder of the package, or the file of the module, that `import name` gives."""
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"bertrain is not installed completely: its package `{name}` is missing", name=name)
    return next(iter(spec.submodule_search_locations or ()), str(spec.origin))
