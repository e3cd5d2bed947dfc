"""A task tried with several seeds, and with several numbers of labels: figures with their spread."""

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
from pretrain.transfer.finetuning import Finetuned, ReportEpoch, TaskItems, finetune, predict, silent
from pretrain.transfer.tasks import Answering, Answers, Choice, Classification, Records, Regression, Tagging, Task

StartingPoint = Callable[[int], BertModel]  # an encoder, for a seed


@dataclass(frozen=True)
class Trial:
    """One seed's fine-tuning and what it answered in the test."""

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
        """Of one value a seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0)

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.deviation:.4f}"


def make_task(task: TaskConfig, settings: FinetuneConfig, vocabulary: Vocabulary, training: Records) -> Task:
    """The task, fitted to its training records."""
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
    """Each seed from the same pretrained weights; what they lack (a pooler) is drawn from the seed."""
    return lambda seed: source.encoder(seed)


def random_start(config: ModelConfig, vocabulary_size: int) -> StartingPoint:
    """Each seed from random weights of its own, of the same shape."""

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
    report: ReportEpoch = silent,
) -> Trial:
    """Fine-tune with one seed, and answer the test with what was best in the validation."""
    finetuned = finetune(start(seed), config, data, settings, seed, report)
    return Trial(seed, finetuned, predict(finetuned.model, data.task, data.splits.test, data.test, settings))


def spreads(trials: Sequence[Trial]) -> dict[str, Spread]:
    """Each figure of the test over the trials."""
    return {name: Spread.of([trial.test.metrics[name] for trial in trials]) for name in trials[0].test.metrics}
