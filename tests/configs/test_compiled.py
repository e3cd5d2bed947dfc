"""Compiled functions also work without a writable folder for their cache."""

from __future__ import annotations

import logging
from typing import Any

import numba
import pytest

from configs.compiled import compiled


def add(one: int, other: int) -> int:
    return one + other


def test_a_compiled_function_computes() -> None:
    assert compiled(add)(20, 22) == 42


def test_it_compiles_without_a_writable_cache(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    njit: Any = numba.njit

    def njit_without_cache(function: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", njit_without_cache)

    with caplog.at_level(logging.WARNING):
        assert compiled(add)(20, 22) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text
