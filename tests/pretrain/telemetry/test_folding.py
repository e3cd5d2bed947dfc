from __future__ import annotations

from dataclasses import replace

import pytest

from pretrain.telemetry.folding import WIDTH, fold
from pretrain.telemetry.metrics import STEP_LINE, Fault, console_line, evaluation_line
from tests.pretrain.telemetry.test_metrics import EVALUATION, STEP, TRAIN


def test_a_short_line_stays() -> None:
    assert fold("step 1/2 | loss 3") == "step 1/2 | loss 3"


@pytest.mark.parametrize(
    "line",
    [
        console_line(replace(STEP, mfu=0.4, skipped=True, fault=Fault.GRADIENT_NOT_FINITE), TRAIN),
        evaluation_line(replace(EVALUATION, by_corpus=dict.fromkeys(range(9), EVALUATION))),
        "model    " + "24 layers x 1024, " * 20,
    ],
)
def test_long_lines_are_folded_and_complete(line: str) -> None:
    folded = fold(line).splitlines()
    assert len(folded) > 1
    assert max(map(len, folded)) <= WIDTH
    assert [word for each in folded for word in each.split() if word != "|"] == [
        word for word in line.split() if word != "|"
    ]
    assert all(each.startswith(" ") for each in folded[1:])


def test_a_path_is_never_cut() -> None:
    path = "/" + "x" * 200
    assert path in fold(f"data     of {path} and more words than fit on a line")


def test_a_steps_line_is_recognised() -> None:
    assert STEP_LINE.match(console_line(STEP, TRAIN))
    assert not STEP_LINE.match(evaluation_line(EVALUATION))
