"""The last line of a training command: what it did, and a command that works next."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.exit_codes import DONE, STOPPED
from configs.recipe import load_recipe
from launch.display import show_outcome

STEP_5 = Path("runs/demo/checkpoints/step_00000005")


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    STEP_5.mkdir(parents=True)
    (STEP_5 / "state.json").touch()


@pytest.mark.parametrize(
    ("overrides", "code", "before", "said"),
    [
        (
            [],
            DONE,
            0,
            "runs/demo is finished; next: `bertrain evaluate runs/demo`, `bertrain export runs/demo --output",
        ),
        (["data.held_out_fraction=0"], DONE, 0, "runs/demo is finished; next: `bertrain export runs/demo --output"),
        ([], DONE, 5, "runs/demo was finished already, at step 5; raise train.steps to train on"),
        (
            ["train.steps=900"],
            STOPPED,
            0,
            "runs/demo is stopped and saved at step 5 of 900; the same command resumes it",
        ),
        ([], 1, 0, ""),
    ],
)
def test_the_outcome_names_what_was_done_and_what_comes_next(
    overrides: list[str], code: int, before: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_outcome(load_recipe("demo", overrides), code, before)
    assert " ".join(capsys.readouterr().out.split()).startswith(said)
