"""Trials of a task with several seeds, and the mean and deviation of their metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from configs.errors import UserError
from configs.schema import ModelConfig
from configs.transfer import FinetuneConfig
from pretrain.engine import seed_everything
from pretrain.huggingface import Pretrained, load_pretrained
from pretrain.model import BertForPreTraining, BertModel
from pretrain.transfer.finetuning import Finetuned, ReportEpoch, TaskItems, finetune, no_report, predict
from pretrain.transfer.tasks import Answers

SECOND = "second_"  # prefix of the metrics on the second test file

StartingPoint = Callable[[int], BertModel]  # an encoder, for a seed


@dataclass(frozen=True)
class Trial:
    """One seed's fine-tuning and its answers to the records of the test files."""

    seed: int
    finetuned: Finetuned
    test: Answers
    second_test: Answers | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics on the test records, and those on the second test file as `second_…`."""
        second = {} if self.second_test is None else self.second_test.metrics
        return self.test.metrics | {f"{SECOND}{name}": value for name, value in second.items()}


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds."""

    mean: float
    deviation: float  # 0 for a single seed

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute mean and deviation from one value per seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0)

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.deviation:.4f}"


def pretrained_start(source: Pretrained) -> StartingPoint:
    """Return a starting point with the same pretrained weights for every seed; a missing pooler depends on the seed."""
    return lambda seed: source.encoder(seed)


def reloading_start(source: Pretrained) -> StartingPoint:
    """Return a starting point that reads the weights for each seed and keeps none in memory.

    Raises `UserError` if they have changed meanwhile: a run may have been trained further.
    """
    place, step, config = source.place, source.step, source.config

    def start(seed: int) -> BertModel:
        again = load_again(place)
        if again.step != step:
            cause = f"its newest checkpoint is now of step {again.step}; it was {step} at the start"
            fix = f"give the checkpoint's folder, step_{step:08d}, instead of the run"
            raise UserError(cause, place=str(place), fix=fix)
        return replace(again, config=config).encoder(seed)

    return start


def load_again(place: Path) -> Pretrained:
    """Read a model without the warnings about its weights: they were given before, or do not apply to its head."""
    log = logging.getLogger("pretrain.huggingface")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return load_pretrained(place)
    finally:
        log.setLevel(level)


def random_start(config: ModelConfig, vocabulary_size: int) -> StartingPoint:
    """Return a starting point with random weights that depend on the seed."""

    def start(seed: int) -> BertModel:
        seed_everything(seed)
        return BertForPreTraining(config, vocabulary_size, "nsp").bert

    return start


def try_seed(
    start: StartingPoint,
    config: ModelConfig,
    data: TaskItems,
    settings: FinetuneConfig,
    seed: int,
    report: ReportEpoch = no_report,
) -> Trial:
    """Fine-tune with one seed, and answer the records of the test files with the model of the best validation epoch."""
    finetuned = finetune(start(seed), config, data, settings, seed, report)
    answer = partial(predict, finetuned.model, finetuned.task, settings=settings)
    second = data.splits.second_test
    return Trial(
        seed,
        finetuned,
        answer(data.splits.test, data.test),
        None if second is None else answer(second, data.second_test),
    )


def spreads(tests: Sequence[dict[str, float]]) -> dict[str, Spread]:
    """Return the mean and deviation of each test metric over the trials."""
    return {name: Spread.of([metrics[name] for metrics in tests]) for name in tests[0]}
