"""Trials of a task with several seeds, and the mean and deviation of their metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from configs.schema import ModelConfig
from configs.transfer import FinetuneConfig, TaskConfig
from preprocessing.vocabulary import Vocabulary
from pretrain.engine import seed_everything
from pretrain.huggingface import Pretrained
from pretrain.model import BertForPreTraining, BertModel
from pretrain.transfer.finetuning import Finetuned, ReportEpoch, TaskItems, finetune, no_report, predict
from pretrain.transfer.tasks import Answering, Answers, Choice, Classification, Records, Regression, Tagging, Task

StartingPoint = Callable[[int], BertModel]  # an encoder, for a seed


@dataclass(frozen=True)
class Trial:
    """One seed's fine-tuning and its answers to the test records."""

    seed: int
    finetuned: Finetuned
    test: Answers


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


def make_task(task: TaskConfig, settings: FinetuneConfig, vocabulary: Vocabulary, training: Records) -> Task:
    """Return the task for these training records, which define its labels."""
    length = settings.max_length
    if task.kind == "qa":
        return Answering(training, vocabulary, length, settings.stride)
    if task.kind == "tag":
        return Tagging(training, vocabulary, length)
    if task.kind == "choice":
        return Choice(vocabulary, length)
    texts = [task.text] if task.kind == "classify" else [task.text, task.text_b]
    kind = Regression if task.regression else Classification
    return kind(training, vocabulary, length, texts, task.label)


def pretrained_start(source: Pretrained) -> StartingPoint:
    """Return a starting point with the same pretrained weights for every seed; a missing pooler depends on the seed."""
    return lambda seed: source.encoder(seed)


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
    """Fine-tune with one seed, and answer the test records with the model of the best validation epoch."""
    finetuned = finetune(start(seed), config, data, settings, seed, report)
    return Trial(seed, finetuned, predict(finetuned.model, data.task, data.splits.test, data.test, settings))


def spreads(trials: Sequence[Trial]) -> dict[str, Spread]:
    """Return the mean and deviation of each test metric over the trials."""
    return {name: Spread.of([trial.test.metrics[name] for trial in trials]) for name in trials[0].test.metrics}
