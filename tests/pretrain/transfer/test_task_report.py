from __future__ import annotations

from pathlib import Path

import pytest

from configs.tasks import BudgetedTask
from configs.transfer import FinetuneConfig
from pretrain.transfer import probing, task_report as module
from pretrain.transfer.features import Mix
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.pictures import draw_worth
from pretrain.transfer.probing import Probed
from pretrain.transfer.task_report import PRETRAINED, RANDOM, Worth, measure_worth
from pretrain.transfer.tasks.task import Answers
from pretrain.transfer.trials import Trial
from tests.pretrain.transfer.test_finetuning import SETTINGS, SOURCE, some_items

TASK = BudgetedTask(name="good or bad", kind="classify", data="here", finetune=SETTINGS.model_copy(update={"seeds": 2}))


def answers(value: float) -> Answers:
    return Answers([], {"accuracy": value}, [])


def worth(pretrained: list[float], random: list[float]) -> Worth:
    trials = {
        name: [Trial(seed, None, answers(value)) for seed, value in enumerate(values)]  # type: ignore[arg-type]
        for name, values in ((PRETRAINED, pretrained), (RANDOM, random))
    }
    probed = Probed([answers(0.5), answers(0.75)], answers(1.0), Mix([0, 1], [0.5, 0.5]))
    return Worth(TASK, "accuracy", trials, {PRETRAINED: [probed] * 2, RANDOM: [probed] * 2})


def test_difference_is_computed_per_seed() -> None:
    made = worth([0.8, 0.9], [0.5, 0.5])
    assert made.difference.mean == pytest.approx(0.35)
    assert made.difference.deviation == pytest.approx(0.0707, abs=1e-4)
    assert str(made.finetuned(RANDOM)) == "0.5000 ± 0.0000"
    assert [spread.mean for spread in made.probed(RANDOM)] == [0.5, 0.75]
    assert made.mixed(PRETRAINED).mean == 1.0


@pytest.mark.parametrize(
    ("pretrained", "random", "beyond"),
    [([0.8, 0.9], [0.7, 0.8], True), ([0.8, 0.9], [0.75, 0.9], False), ([0.7, 0.7], [0.8, 0.8], False)],
)
def test_difference_must_exceed_the_larger_deviation(
    pretrained: list[float], random: list[float], beyond: bool
) -> None:
    assert worth(pretrained, random).is_beyond_the_spread is beyond


def test_both_starting_points_run_with_the_same_seeds_and_are_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "STEPS", 20)
    task = TASK.model_copy(update={"finetune": FinetuneConfig(**TASK.finetune.model_dump() | {"epochs": 1})})
    reported: list[tuple[str, int]] = []
    made = measure_worth(SOURCE, task, some_items(60), lambda start, trial, _: reported.append((start, trial.seed)))
    assert reported == [(PRETRAINED, 0), (RANDOM, 0), (PRETRAINED, 1), (RANDOM, 1)]
    again = measure_worth(SOURCE, task, some_items(60))
    assert made.difference == again.difference
    assert made.probes[RANDOM][0] != made.probes[RANDOM][1]
    assert made.probes[PRETRAINED][0].layers != made.probes[RANDOM][0].layers
    draw_worth(tmp_path / "a.png", [made, made])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_training_records_are_drawn_per_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def record_draw(encoder: object, data: TaskItems, settings: FinetuneConfig, seed: int) -> Probed:
        drawn.append([item.record for item in data.training])
        return Probed([answers(0.5)], answers(0.5), Mix([0], [1.0]))

    monkeypatch.setattr(module, "probe", record_draw)
    monkeypatch.setattr(
        module, "try_seed", lambda start, config, data, settings, seed: record_draw(0, data, settings, seed)
    )
    measure_worth(SOURCE, TASK.model_copy(update={"records": 20}), some_items(60))
    assert {len(records) for records in drawn} == {20}
    first, second = drawn[:4], drawn[4:]  # probe and trial, from both starting points
    assert first == first[:1] * 4
    assert second == second[:1] * 4
    assert first != second
