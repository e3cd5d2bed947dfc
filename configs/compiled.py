"""Functions compiled to machine code by numba once per machine: later processes load them from disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` at its first call; the compiled function releases the interpreter lock.

    numba detects a change in the file that defines a function, but not in functions that it calls from other files.
    After editing such a file, touch the files of its callers or remove their `__pycache__`.
    """
    import numba  # slow to import, and not needed to read a recipe

    try:
        kept = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError as error:  # neither the source's folder nor the user's cache is writable
        logger.warning("compiled functions are not cached (%s); set NUMBA_CACHE_DIR to a writable folder", error)
        kept = numba.njit(function, nogil=True, error_model="numpy")
    return cast(Callable[Parameters, Result], kept)
