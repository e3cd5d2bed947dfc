"""Extractive question answering: answers are spans of a context (section 4.2), or there is none (section 4.3).

A context that is longer than a row is read in overlapping windows. The target is [CLS] for a window that does not
contain the answer, and for a question without an answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F

from configs.errors import UserError
from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import Answers, Item, Predictions, Task, side_by_side

MAX_QUESTION, MAX_ANSWER = 64, 30  # tokens, as published
CANDIDATES = 20  # best starts and best ends, of which all pairs are compared
SPECIAL_TOKENS = 3


@dataclass(frozen=True)
class AnswerSpan:
    """The best span of a window, in characters of the context, its score, and the score of no answer."""

    begin: int
    end: int
    score: float
    null_score: float


class Answering(Task):
    """Extractive question answering."""

    watched = "f1"
    measures = ("f1", "exact_match")
    outputs = 2  # start, end
    per_token = True

    def __init__(
        self, vocabulary: Vocabulary, max_length: int, stride: int, *, may_abstain: bool, threshold: float = 0.0
    ) -> None:
        if stride >= max_length - MAX_QUESTION - SPECIAL_TOKENS:
            cause = f"windows of {max_length} tokens cannot overlap by {stride} and hold a question of {MAX_QUESTION}"
            fix = f"set max_length above {stride + MAX_QUESTION + SPECIAL_TOKENS}"
            raise UserError(cause, place="finetune.max_length", fix=fix)
        self.plain = vocabulary.tokenizer()
        self.windows = vocabulary.tokenizer()
        self.windows.enable_truncation(max_length, stride=stride, strategy="only_second")
        self.may_abstain = may_abstain  # whether training has questions without an answer
        self.threshold = threshold  # no answer where its score exceeds that of the best span by more than this

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one item per window. `places` holds each token's word as a character span; None outside the context."""
        items = []
        for number, record in enumerate(records.records):
            windows = list(self._windows_of(record, records))
            if len(windows) > 1:
                records.treated["contexts read in several windows"] += 1
            made = [self._item(window, number, record if training else None) for window in windows]
            if training and record["answers"] and not any(any(item.target) for item in made):
                records.treated["answers not contained in any window: trained as no answer"] += 1
            items += made
        return items

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the mean of the start's and the end's cross-entropy over the tokens of their window."""
        lengths = [len(item) for item in items]
        targets = torch.tensor([item.target for item in items], device=scores.device)
        losses = [F.cross_entropy(side_by_side(scores[:, side], lengths), targets[:, side]) for side in (0, 1)]
        return (losses[0] + losses[1]) / 2

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the best span of each window; None for a window without tokens of the context."""
        parts = torch.split(scores.cpu(), [len(item) for item in items])
        return [best_span(part.numpy(), item.places) for part, item in zip(parts, items, strict=True)]

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the text of the best span of a question's windows; empty where no answer scores higher."""
        best = [self._best(spans) for spans in self._spans(records, items, decoded)]
        texts = [self._text(record["context"], found) for record, found in zip(records.records, best, strict=True)]
        scores = [{"null_score_difference": round(found[1], 4)} if found and self.may_abstain else {} for found in best]
        return Predictions(texts, scores)

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted texts with their metrics, those of answerable and unanswerable questions included."""
        made = self.predictions(records, items, decoded)
        found, truth = made.values, _true_texts(records)
        wrong = [not metrics.best(metrics.exact_match, true, text) for true, text in zip(truth, found, strict=True)]
        figures = metrics.spans(truth, found)
        if self.may_abstain:
            figures |= metrics.has_and_no_answer(truth, found)
        only = "no answer" if not any(found) and any(truth) else ""
        return Answers(found, figures, wrong, made.details, only)

    def tuned(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answering:
        """Return the task with the threshold of no answer that has the best F1 on these records."""
        if not self.may_abstain:
            return self
        best = [self._best(spans) for spans in self._spans(records, items, decoded)]
        cases = []
        for record, truth, found in zip(records.records, _true_texts(records), best, strict=True):
            if found:
                text = record["context"][found[0].begin : found[0].end]
                cases.append((found[1], metrics.best(metrics.token_f1, truth, text), float(not truth)))
        tuned = copy.copy(self)
        tuned.threshold = best_threshold(cases)
        return tuned

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' question answering model."""
        return {"architectures": ["BertForQuestionAnswering"]}

    def state(self) -> dict[str, Any]:
        """Return whether questions can be without an answer, and the threshold."""
        return {"may_abstain": self.may_abstain, "threshold": self.threshold}

    def _item(self, window: Encoding, number: int, record: dict[str, Any] | None) -> Item:
        places = _whole_words(window)
        return Item([TokenRow.of(window)], number, record and _target(record, places), places)

    def _spans(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> list[list[AnswerSpan]]:
        spans: list[list[AnswerSpan]] = [[] for _ in records.records]
        for item, span in zip(items, decoded, strict=True):
            if span is not None:
                spans[item.record].append(span)
        return spans

    def _best(self, spans: Sequence[AnswerSpan]) -> tuple[AnswerSpan, float] | None:
        """Return the best span, and by how much the score of no answer exceeds its score."""
        if not spans:
            return None
        best = max(spans, key=lambda span: span.score)
        return best, min(span.null_score for span in spans) - best.score

    def _text(self, context: str, found: tuple[AnswerSpan, float] | None) -> str:
        if found is None or (self.may_abstain and found[1] > self.threshold):
            return ""
        return context[found[0].begin : found[0].end]

    def _windows_of(self, record: dict[str, Any], records: Records) -> Iterator[Encoding]:
        question = record["question"]
        pieces = self.plain.encode(question, add_special_tokens=False)
        if len(pieces.ids) > MAX_QUESTION:
            records.treated[f"questions cut to {MAX_QUESTION} tokens"] += 1
            question = question[: pieces.offsets[MAX_QUESTION - 1][1]]
        for name in ("question", "context"):
            if not record[name].strip():
                records.treated[f"empty {name}s: kept"] += 1
        window = self.windows.encode(question, record["context"])
        yield window
        yield from window.overflowing


def best_threshold(cases: Sequence[tuple[float, float, float]]) -> float:
    """Return the threshold with the highest sum of F1; a case is (difference, F1 if answered, F1 if not)."""
    ordered = sorted(cases)
    best = total = sum(unanswered for _, _, unanswered in ordered)  # at a threshold below all differences
    threshold = ordered[0][0] - 1.0 if ordered else 0.0
    for number, (difference, answered, unanswered) in enumerate(ordered):
        total += answered - unanswered
        is_last_of_equals = number + 1 == len(ordered) or ordered[number + 1][0] > difference
        if total > best and is_last_of_equals:
            best, threshold = total, difference
    return threshold


def best_span(scores_T2: np.ndarray[Any, Any], places: Sequence[tuple[int, int] | None]) -> AnswerSpan | None:
    """Return the best span within a window's context, of at most `MAX_ANSWER` tokens."""
    inside = np.array([number for number, place in enumerate(places) if place is not None], dtype=int)
    if not len(inside):
        return None
    starts, ends = (inside[np.argsort(-scores_T2[inside, side])[:CANDIDATES]] for side in (0, 1))
    sums = scores_T2[starts, 0][:, None] + scores_T2[ends, 1][None]
    lengths = ends[None] - starts[:, None]
    sums[(lengths < 0) | (lengths >= MAX_ANSWER)] = -np.inf
    start, end = np.unravel_index(int(sums.argmax()), sums.shape)
    null_score = float(scores_T2[0].sum())
    if not np.isfinite(sums[start, end]):
        return None
    first, last = places[starts[start]], places[ends[end]]
    assert first is not None
    assert last is not None
    return AnswerSpan(first[0], last[1], float(sums[start, end]), null_score)


def _true_texts(records: Records) -> list[list[str]]:
    return [[answer["text"] for answer in record["answers"]] for record in records.records]


def _whole_words(window: Encoding) -> list[tuple[int, int] | None]:
    """Return the character span of each context token's word: answers begin and end at word boundaries."""
    begins: dict[int | None, int] = {}
    ends: dict[int | None, int] = {}
    in_context = [segment == 1 for segment in window.sequence_ids]
    for word, (begin, end) in compress(zip(window.word_ids, window.offsets, strict=True), in_context):
        begins.setdefault(word, begin)
        ends[word] = end
    return [
        (begins[word], ends[word]) if inside else None for inside, word in zip(in_context, window.word_ids, strict=True)
    ]


def _target(record: dict[str, Any], places: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """Return the first answer's first and last token; (0, 0), which is [CLS], if the window does not contain it."""
    if not record["answers"]:
        return 0, 0
    begin = record["answers"][0]["start"]
    end = begin + len(record["answers"][0]["text"])
    touched = {number: place for number, place in enumerate(places) if place and place[0] < end and place[1] > begin}
    is_contained = touched and min(touched.values())[0] <= begin and max(touched.values())[1] >= end
    return (min(touched), max(touched)) if is_contained else (0, 0)
