"""What pretraining is worth on a task: fine-tuned and probed from the checkpoint and from random weights, seed by seed.

Both starts have the same shape, records, budget and seeds, so that each seed gives a difference of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from configs.tasks import BudgetedTask
from pretrain.huggingface import Pretrained
from pretrain.transfer.features import Mix
from pretrain.transfer.finetuning import TaskItems
from pretrain.transfer.probing import Probed, probe
from pretrain.transfer.trials import Spread, StartingPoint, Trial, pretrained_start, random_start, try_seed

PRETRAINED, RANDOM = STARTS = ("pretrained", "random")


@dataclass(frozen=True)
class Worth:
    """One task's figures from both starts, by their names: a trial and a probe a seed."""

    task: BudgetedTask
    metric: str
    trials: dict[str, list[Trial]]
    probes: dict[str, list[Probed]]

    def finetuned(self, start: str) -> Spread:
        """The metric in the test, over the seeds."""
        return Spread.of(self._finetuned(start))

    @property
    def difference(self) -> Spread:
        """What pretraining adds: the mean over the seeds, and their spread."""
        pairs = zip(self._finetuned(PRETRAINED), self._finetuned(RANDOM), strict=True)
        return Spread.of([mine - other for mine, other in pairs])

    @property
    def is_beyond_the_spread(self) -> bool:
        """Whether the two means are further apart than the larger deviation of the two."""
        mine, other = self.finetuned(PRETRAINED), self.finetuned(RANDOM)
        return mine.mean - other.mean > max(mine.deviation, other.deviation)

    def probed(self, start: str) -> list[Spread]:
        """The metric of a linear probe on each layer, from the embeddings on."""
        by_seed = [[answers.metrics[self.metric] for answers in probed.layers] for probed in self.probes[start]]
        return [Spread.of(layer) for layer in zip(*by_seed, strict=True)]

    def mixed(self, start: str) -> Spread:
        """The metric of the probe on the learned mix of layers."""
        return Spread.of([probed.mixed.metrics[self.metric] for probed in self.probes[start]])

    @property
    def mix(self) -> Mix:
        """The mix of the pretrained layers that the first seed learned."""
        return self.probes[PRETRAINED][0].mix

    def _finetuned(self, start: str) -> list[float]:
        return [trial.test.metrics[self.metric] for trial in self.trials[start]]


def measure_worth(
    source: Pretrained,
    task: BudgetedTask,
    data: TaskItems,
    tell: Callable[[str, Trial, Probed], None] = lambda start, trial, probed: None,
) -> Worth:
    """Fine-tune and probe `task` from both starts, once a seed; `tell` hears of each."""
    starts: dict[str, StartingPoint] = {
        PRETRAINED: pretrained_start(source),
        RANDOM: random_start(source.config, len(source.vocabulary)),
    }
    trials: dict[str, list[Trial]] = {name: [] for name in STARTS}
    probes: dict[str, list[Probed]] = {name: [] for name in STARTS}
    for seed in range(task.finetune.seeds):
        drawn = data.few(task.records, seed) if task.records else data
        for name, start in starts.items():
            probed = probe(start(seed), drawn, task.finetune, seed)
            trial = try_seed(start, source.config, drawn, task.finetune, seed)
            trials[name].append(trial)
            probes[name].append(probed)
            tell(name, trial, probed)
    return Worth(task, data.task.watched, trials, probes)
