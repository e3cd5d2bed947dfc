"""Functions compiled to machine code by numba, once a machine: the next process loads them from disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` at its first call; it releases the interpreter lock.

    numba notices a change of the file a function stands in, but not of functions it calls from other files: after an
    edit of such a file, touch its callers' files or remove their `__pycache__`.
    """
    import numba  # slow to import, and not needed to read a recipe

    try:
        kept = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError as error:  # no folder to write to, neither beside the source nor in the user's cache
        logger.warning("compiled functions are not kept (%s); set NUMBA_CACHE_DIR to a writable folder", error)
        kept = numba.njit(function, nogil=True, error_model="numpy")
    return cast(Callable[Parameters, Result], kept)
