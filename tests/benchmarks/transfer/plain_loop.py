"""A plain fine-tuning loop over transformers' models, as its Trainer and its examples work: a benchmark's reference.

transformers' tokenizer, padded batches, torch's AdamW with decay on all weights except biases and LayerNorm,
transformers' linear schedule, clipping at 1, the model's dropout and loss, and its own head (normal, 0.02). Records,
labels and metrics are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from configs.tasks import BudgetedTask
from pretrain.transfer.finetuning import EVALUATION_ITEMS, TaskItems
from pretrain.transfer.labelled import Records
from pretrain.transfer.stepping import batches_of, precision_of
from pretrain.transfer.tasks import Answering, MultiLabel, Regression, Tagging, Task, joined
from pretrain.transfer.tasks.answering import MAX_QUESTION
from pretrain.transfer.tasks.task import UNLABELLED
from pretrain.transfer.tasks.text_task import TextTask

ADAM_EPS, MAX_NORM = 1e-6, 1.0  # as in our loop; transformers' Trainer uses an epsilon of 1e-8
CPU = torch.device("cpu")
MODELS: dict[type[Task], str] = {Tagging: "TokenClassification", Answering: "QuestionAnswering"}

Feature = dict[str, Any]


class Plain:
    """A plain loop for one task."""

    def __init__(self, place: Path, task: BudgetedTask, data: TaskItems) -> None:
        self.place, self.settings, self.data, self.task = place, task.finetune, data, data.task
        auto: Any = transformers.AutoTokenizer
        self.tokenizer = auto.from_pretrained(place)

    def train(self, seed: int) -> float:
        """Return the test metric at the epoch with the best validation metric."""
        transformers.set_seed(seed)
        settings, model = self.settings, self.model()
        features = [
            row for record in sorted({item.record for item in self.data.training}) for row in self.features(record)
        ]
        adam = torch.optim.AdamW(self.parameters_of(model), lr=settings.learning_rate, eps=ADAM_EPS)
        steps = settings.epochs * -(-len(features) // settings.batch_size)
        linear: Any = transformers.get_linear_schedule_with_warmup
        schedule = linear(adam, int(settings.warmup_fraction * steps), steps)
        best, tested = -2.0, 0.0
        for _ in range(settings.epochs):
            model.train()
            shuffled = [features[number] for number in torch.randperm(len(features))]
            for batch in batches_of(shuffled, settings.batch_size):
                self.step(model, adam, batch)
                schedule.step()
            figure = self.score(model, self.data.splits.validation)
            if figure > best:
                best, tested = figure, self.score(model, self.data.splits.test)
        return tested

    def step(self, model: Any, adam: torch.optim.AdamW, batch: list[Feature]) -> float:
        """Train on a batch; return its loss."""
        with precision_of(self.settings, CPU):
            loss = self.loss(model, self.padded(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        adam.step()
        adam.zero_grad()
        return loss.item()

    def loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return transformers' loss. Padding is no candidate for an answer: else the longest row matters."""
        if not isinstance(self.task, Answering):
            made: torch.Tensor = model(**inputs).loss
            return made
        targets = [inputs.pop(name) for name in ("start_positions", "end_positions")]
        output, padding = model(**inputs), inputs["attention_mask"] == 0
        sides = (output.start_logits, output.end_logits)
        losses = [
            nn.functional.cross_entropy(side.masked_fill(padding, -torch.inf), target)
            for side, target in zip(sides, targets, strict=True)
        ]
        return (losses[0] + losses[1]) / 2

    def model(self) -> Any:
        """Return the published encoder with its dropout and a new head."""
        auto: Any = getattr(transformers, f"AutoModelFor{MODELS.get(type(self.task), 'SequenceClassification')}")
        problem = {Regression: "regression", MultiLabel: "multi_label_classification"}.get(type(self.task))
        size = {} if isinstance(self.task, Answering) else {"num_labels": self.task.outputs, "problem_type": problem}
        return auto.from_pretrained(self.place, attn_implementation="eager", **size).float()

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

    def features(self, number: int) -> list[Feature]:
        """Return a training record's rows with their labels, as transformers' examples make them."""
        record = self.data.splits.training.records[number]
        if isinstance(self.task, Answering):
            return self.windows(record)
        encoding = self.encoded(record)
        if isinstance(self.task, Tagging):
            labels = [UNLABELLED] * len(encoding["input_ids"])
            for word, place in first_pieces(encoding).items():
                labels[place] = self.task.labels.index(record["labels"][word])
            return [{**encoding, "labels": labels}]
        assert isinstance(self.task, TextTask)
        return [{**encoding, "labels": self.task.target(record)}]

    def windows(self, record: dict[str, Any]) -> list[Feature]:
        """Return the windows of a question and its context, with the answer's first and last token or [CLS] twice."""
        pieces = self.tokenizer(record["question"], add_special_tokens=False, return_offsets_mapping=True)
        end_of_question = pieces["offset_mapping"][:MAX_QUESTION][-1][1]
        encoding = self.tokenizer(
            record["question"][:end_of_question],
            record["context"],
            truncation="only_second",
            max_length=self.settings.max_length,
            stride=self.settings.stride,
            return_overflowing_tokens=True,
        )
        answer, made = (record["answers"] or [None])[0], []
        for window in range(len(encoding["input_ids"])):
            places: list[int | None] = [0, 0]
            if answer:
                ends = (answer["start"], answer["start"] + len(answer["text"]) - 1)
                places = [encoding.char_to_token(window, end, sequence_index=1) for end in ends]
            begin, end = (0, 0) if None in places else places
            row = {name: encoding[name][window] for name in ("input_ids", "token_type_ids", "attention_mask")}
            made.append({**row, "start_positions": begin, "end_positions": end})
        return made

    def encoded(self, record: dict[str, Any]) -> Any:
        """Tokenise a record, truncated to the maximum length, as in transformers' examples."""
        length = {"truncation": True, "max_length": self.settings.max_length}
        if isinstance(self.task, Tagging):
            return self.tokenizer(record["tokens"], is_split_into_words=True, **length)
        return self.tokenizer(record["text"], record.get("text_b"), **length)

    def padded(self, batch: list[Feature]) -> dict[str, torch.Tensor]:
        """Return a batch in which all rows have the length of the longest."""
        names = ("labels", "start_positions", "end_positions")
        inputs: dict[str, torch.Tensor] = self.tokenizer.pad(
            [{name: value for name, value in feature.items() if name not in names} for feature in batch],
            return_tensors="pt",
        )
        for name in names:
            if name in batch[0]:
                values = [feature[name] for feature in batch]
                if isinstance(self.task, Tagging):
                    longest = inputs["input_ids"].shape[1]
                    values = [labels + [UNLABELLED] * (longest - len(labels)) for labels in values]
                inputs[name] = torch.tensor(values)
        return inputs

    @torch.no_grad()
    def score(self, model: Any, records: Records) -> float:
        """Return the watched metric over all records. The task's own code turns scores into answers."""
        model.eval()
        task, items = self.task, self.data.task.items(Records("-", records.records), training=False)
        decoded: list[Any] = []
        for some in batches_of(items, EVALUATION_ITEMS):
            with precision_of(self.settings, CPU):
                output = model(**self.padded([row_feature(item.rows[0]) for item in some]))
            if isinstance(task, Answering):
                scores = torch.stack([output.start_logits, output.end_logits], dim=-1)
            else:
                scores = output.logits
            if task.per_token:
                scores = torch.cat([row[: len(item)] for row, item in zip(scores, some, strict=True)])
            decoded += task.decode(scores.float(), joined(some), some)
        return task.answers(records, items, decoded).metrics[task.watched]


def row_feature(row: Any) -> Feature:
    """Return a row of our tokenizer as transformers' tokenizer returns it."""
    return {
        "input_ids": list(row.input_ids),
        "token_type_ids": list(row.token_type_ids),
        "attention_mask": [1] * len(row.input_ids),
    }


def first_pieces(encoding: Any) -> dict[int, int]:
    """Return the index of each token's first word piece."""
    first: dict[int, int] = {}
    for place, word in enumerate(encoding.word_ids()):
        if word is not None:
            first.setdefault(word, place)
    return first
