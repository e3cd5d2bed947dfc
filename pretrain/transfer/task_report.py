"""The gain from pretraining on a task: fine-tuning and probing from pretrained and from random weights, per seed.

Both starting points have the same shape, records, budget and seeds, so that each seed gives one difference.
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
    """One task's results by the name of the starting point: one trial and one probe per seed."""

    task: BudgetedTask
    metric: str
    trials: dict[str, list[Trial]]
    probes: dict[str, list[Probed]]

    def finetuned(self, start: str) -> Spread:
        """Return the test metric after fine-tuning, over the seeds."""
        return Spread.of(self._finetuned(start))

    @property
    def difference(self) -> Spread:
        """The gain in the test metric from pretraining, over the seeds."""
        pairs = zip(self._finetuned(PRETRAINED), self._finetuned(RANDOM), strict=True)
        return Spread.of([mine - other for mine, other in pairs])

    @property
    def is_beyond_the_spread(self) -> bool:
        """Whether the pretrained mean exceeds the random one by more than the larger of the two deviations."""
        mine, other = self.finetuned(PRETRAINED), self.finetuned(RANDOM)
        return mine.mean - other.mean > max(mine.deviation, other.deviation)

    def probed(self, start: str) -> list[Spread]:
        """Return the metric of a linear probe on each layer, starting with the embeddings."""
        by_seed = [[answers.metrics[self.metric] for answers in probed.layers] for probed in self.probes[start]]
        return [Spread.of(layer) for layer in zip(*by_seed, strict=True)]

    def mixed(self, start: str) -> Spread:
        """Return the metric of the probe on the learned mix of layers."""
        return Spread.of([probed.mixed.metrics[self.metric] for probed in self.probes[start]])

    @property
    def mix(self) -> Mix:
        """The mix of the pretrained layers that the first seed's probe learned."""
        return self.probes[PRETRAINED][0].mix

    def _finetuned(self, start: str) -> list[float]:
        return [trial.test.metrics[self.metric] for trial in self.trials[start]]


def measure_worth(
    source: Pretrained,
    task: BudgetedTask,
    data: TaskItems,
    report: Callable[[str, Trial, Probed], None] = lambda start, trial, probed: None,
) -> Worth:
    """Fine-tune and probe `task` from both starting points, once per seed; call `report` after each."""
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
            report(name, trial, probed)
    return Worth(task, data.task.watched, trials, probes)
