"""The estimate of a step on a GPU: its table stands in the README, and its kernels are those that are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.cost.host import MICRO_STEP
from tests.benchmarks import roof


def test_readme_has_the_estimates() -> None:
    """To refresh: put the output of `python -m tests.benchmarks.roof` there."""
    text = Path(__file__).with_name("README.md").read_text()
    assert "\n".join(roof.table()) in text


def test_estimate_has_as_many_kernels_as_are_counted() -> None:
    assert roof.LARGE_KERNELS + roof.NOW.small_kernels == MICRO_STEP[0].operations


@pytest.mark.parametrize("length", roof.CASES)
def test_less_work_takes_less_time(length: int) -> None:
    seconds = [sum(roof.step_s(code, length).values()) for code in roof.ROWS.values()]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > seconds[-1]


def test_work_of_several_kinds_adds_up() -> None:
    first, now = (roof.step_s(code, 128) for code in (roof.FIRST, roof.NOW))
    assert first.keys() - now.keys() == {"sums of residual gradients", "gradients, widened"}
    assert first["attention"] == now["attention"]
