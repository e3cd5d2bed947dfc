"""Items, losses, answers and metrics of each kind of task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.errors import UserError
from pretrain.transfer.labelled import LabelSet, Records
from pretrain.transfer.tasks.answering import Answering, best_span, best_threshold
from pretrain.transfer.tasks.choice import Choice
from pretrain.transfer.tasks.classification import Classification, MultiLabel, balanced_weights
from pretrain.transfer.tasks.regression import Regression
from pretrain.transfer.tasks.tagging import Tagging
from pretrain.transfer.tasks.task import UNLABELLED, joined
from tests.pretrain.runs import VOCAB


def records(*rows: dict[str, Any]) -> Records:
    return Records("here", list(rows))


def pieces(ids: Any) -> list[str]:
    return [VOCAB.pieces[number] for number in ids]


def concatenated(scores: list[Tensor]) -> Tensor:
    return torch.cat(scores)


class TestClassification:
    data = records(
        {"text": "good film", "label": "pos"}, {"text": " ", "label": "neg"}, {"text": "bad", "label": "neg"}
    )

    def test_items_have_rows_and_targets_and_count_empty_texts(self) -> None:
        data = records(*self.data.records)
        task = Classification(["neg", "pos"], VOCAB, 16)
        items = task.items(data, training=True)
        assert [(pieces(i.rows[0].input_ids), i.record, i.target) for i in items] == [
            (["[CLS]", "good", "film", "[SEP]"], 0, 1),
            (["[CLS]", "bad", "[SEP]"], 2, 0),
        ]
        assert data.treated == {"empty texts: not trained on": 1}
        other = records(*self.data.records)
        assert len(task.items(other, training=False)) == 3
        assert other.treated == {"empty texts: kept": 1}

    def test_pairs_have_two_segments_and_are_truncated(self) -> None:
        data = records(
            {"text": "good film", "text_b": "the cat is bad", "label": "0"},
            {"text": "good", "text_b": "bad", "label": "1"},
        )
        task = Classification(["0", "1"], VOCAB, 7)
        row = task.items(data, training=True)[0].rows[0]
        assert pieces(row.input_ids) == ["[CLS]", "good", "film", "[SEP]", "the", "cat", "[SEP]"]
        assert row.token_type_ids == [0, 0, 0, 0, 1, 1, 1]
        assert data.treated == {"texts cut to 7 tokens": 1}

    def test_loss_and_answers(self) -> None:
        task = Classification(["neg", "pos"], VOCAB, 16)
        items = task.items(self.data, training=True)
        scores = torch.tensor([[0.0, 2.0], [0.0, 1.0]])
        expected = -(scores[0].log_softmax(0)[1] + scores[1].log_softmax(0)[0]) / 2
        torch.testing.assert_close(task.loss(scores, joined(items), items), expected)
        decoded = task.decode(scores, joined(items), items)
        answers = task.answers(records(*self.data.records[::2]), items, decoded)
        assert (answers.predictions, answers.wrong, answers.metrics["accuracy"]) == (["pos", "pos"], [False, True], 0.5)
        assert answers.only == "pos"
        assert answers.details[1] == {"probabilities": pytest.approx({"neg": 0.268941, "pos": 0.731059})}

    def test_class_weights_divide_by_the_sum_of_weights(self) -> None:
        data = records(*({"text": "good", "label": label} for label in "aaab"))
        labels = LabelSet.of({"training": data})
        task = Classification(labels.names, VOCAB, 16, weights=balanced_weights(labels))
        items = task.items(data, training=True)
        assert task.weights == pytest.approx([4 / 6, 2.0])
        assert task.weight(items) == pytest.approx(4.0)
        scores = torch.tensor([[1.0, 0.0]] * 4)
        losses = -scores.log_softmax(-1)[0]
        expected = (3 * task.weights[0] * losses[0] + task.weights[1] * losses[1]) / 4
        torch.testing.assert_close(task.loss(scores, joined(items), items), expected)

    def test_predictions_have_the_types_of_the_data(self) -> None:
        task = Classification(["false", "true"], VOCAB, 16, values={"false": False, "true": True})
        made = task.predictions(records(), [], [np.array([0.9, 0.1]), np.array([0.2, 0.8])])
        assert made.values == [False, True]

    @pytest.mark.parametrize(("labels", "named"), [(["a", "b"], "c"), (["a", "b", "c"], "a")])
    def test_positive_class_must_be_one_of_two(self, labels: list[str], named: str) -> None:
        assert Classification(["a", "b"], VOCAB, 16).positive == "b"
        assert Classification(["a", "b"], VOCAB, 16, positive="a").positive == "a"
        with pytest.raises(UserError, match="is not one of two classes"):
            Classification(labels, VOCAB, 16, positive=named)


class TestMultiLabel:
    data = records({"text": "good", "label": ["a", "b"]}, {"text": "bad", "label": []})

    def test_loss_answers_and_metrics(self) -> None:
        task = MultiLabel(["a", "b"], VOCAB, 16, values={"a": 1, "b": 2})
        items = task.items(self.data, training=True)
        assert [item.target for item in items] == [[1.0, 1.0], [0.0, 0.0]]
        scores = torch.tensor([[2.0, -1.0], [-2.0, -3.0]])
        expected = -(scores * torch.tensor([[1.0, 1.0], [-1.0, -1.0]])).sigmoid().log().mean()
        torch.testing.assert_close(task.loss(scores, joined(items), items), expected)
        answers = task.answers(self.data, items, task.decode(scores, joined(items), items))
        assert answers.predictions == [[1], []]
        assert answers.wrong == [True, False]
        assert answers.metrics == {"micro_f1": pytest.approx(2 / 3), "macro_f1": 0.5, "exact_match": 0.5}


class TestRegression:
    data = records(*({"text": "good", "text_b": "bad", "label": float(value)} for value in (1, 2, 3)))

    def test_targets_are_standardised_and_answers_are_in_the_labels_units(self) -> None:
        task = Regression(VOCAB, 16, mean=2.0, deviation=(2 / 3) ** 0.5)
        items = task.items(self.data, training=True)
        assert [item.target for item in items] == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])
        scores = torch.tensor([[item.target] for item in items])
        assert float(task.loss(scores, joined(items), items)) == 0.0
        assert task.decode(scores, joined(items), items) == pytest.approx([1.0, 2.0, 3.0])
        head = torch.nn.Linear(4, 1)
        standardised = head(torch.ones(4))
        task.rescale_head(head)
        torch.testing.assert_close(head(torch.ones(4)), standardised * task.deviation + task.mean)


LOC = ["B-loc", "I-loc", "O"]


class TestTagging:
    data = records(
        {"tokens": ["Paris", "bankx", "\u200b", "."], "labels": ["B-loc", "I-loc", "O", "O"]},
        {"tokens": ["good"], "labels": ["O"]},
    )

    def test_targets_are_at_first_word_pieces(self) -> None:
        data = records(*self.data.records)
        task = Tagging(LOC, VOCAB, 16)
        item = task.items(data, training=True)[0]
        assert pieces(item.rows[0].input_ids) == ["[CLS]", "paris", "bank", "##x", ".", "[SEP]"]
        assert item.places == [1, 2, None, 4]
        loc, outside = task.labels.index("B-loc"), task.labels.index("O")
        assert item.target == [UNLABELLED, loc, task.labels.index("I-loc"), UNLABELLED, outside, UNLABELLED]
        assert data.treated == {"tokens beyond the row or without a word piece: predicted as O": 1}

    def test_loss_and_answers(self) -> None:
        task = Tagging(LOC, VOCAB, 16)
        items = task.items(self.data, training=True)
        batch = joined(items)
        scores = torch.randn(len(batch.input_ids), 3, generator=torch.Generator().manual_seed(0))
        labelled = [(1, 0), (2, 1), (4, 2), (7, 2)]  # place on the token axis, label
        expected = -sum(scores[place].log_softmax(0)[label] for place, label in labelled) / 4
        torch.testing.assert_close(task.loss(scores, batch, items), expected)
        best = [task.labels[int(scores[place].argmax())] for place, _ in labelled]
        assert task.decode(scores, batch, items) == [[best[0], best[1], "O", best[2]], [best[3]]]
        truth = [record["labels"] for record in self.data.records]
        assert task.answers(self.data, items, truth).metrics["f1"] == 1.0

    def test_tokens_beyond_the_row_have_no_place(self) -> None:
        long = records({"tokens": ["good"] * 30, "labels": ["B-x", "O"] * 15})
        task = Tagging(["B-x", "O"], VOCAB, 16)
        assert task.items(long, training=False)[0].places == [*range(1, 15), *[None] * 16]

    def test_plain_labels_have_accuracy_and_macro_f1(self) -> None:
        parts = Tagging(["NOUN", "VERB"], VOCAB, 16)
        assert (parts.watched, parts.measures, parts.outside) == ("accuracy", ("accuracy", "macro_f1"), "")
        entities = Tagging(["O", "ORG"], VOCAB, 16)
        assert (entities.watched, entities.outside) == ("macro_f1", "O")
        assert entities.answers(records({"labels": ["O"]}), [], [["O"]]).metrics["accuracy"] == 1.0


def question(context: str, answer: str | None, text: str = "is the cat good ?") -> dict[str, Any]:
    answers = [] if answer is None else [{"text": answer, "start": context.index(answer)}]
    return {"id": "1", "question": text, "context": context, "answers": answers, "possible": answer is not None}


def answering(data: Records, max_length: int, stride: int) -> Answering:
    may_abstain = not all(record["possible"] for record in data.records)
    return Answering(VOCAB, max_length, stride, may_abstain=may_abstain)


class TestAnswering:
    def shown(self, item: Any, context: str) -> str:
        first, last = item.target
        return context[item.places[first][0] : item.places[last][1]]

    def test_target_covers_the_complete_words_of_the_answer(self) -> None:
        context = "The river bank, was abc good."
        data = records(question(context, "bank, was abc"))
        item = answering(data, 96, 8).items(data, training=True)[0]
        assert self.shown(item, context) == "bank, was abc"
        data = records(question(context, "ood"))  # inside a word: the target is the word
        assert self.shown(answering(data, 96, 8).items(data, training=True)[0], context) == "good"

    def test_long_context_is_read_in_overlapping_windows(self) -> None:
        context = "the good " * 60 + "paris"
        data = records(question(context, "paris"))
        task = answering(data, 80, 10)
        items = task.items(data, training=True)
        assert data.treated == {"contexts read in several windows": 1}
        assert all(len(item) <= 80 for item in items)
        assert [item.target != (0, 0) for item in items] == [False] * (len(items) - 1) + [True]
        ends = [item.places[-2][1] for item in items]
        begins = [next(place for place in item.places if place)[0] for item in items]
        assert all(begin < end for begin, end in zip(begins[1:], ends, strict=False))
        seen = {place for item in items for place in item.places if place}
        assert len(seen) == 121

    def test_answer_is_the_best_span_of_all_windows_or_empty(self) -> None:
        context = "the good " * 60 + "paris"
        possible, impossible = question(context, "paris"), question(context, None)
        for data, null, expected in (
            (records(possible), 100.0, "paris"),  # training has no unanswerable question
            (records(possible, impossible), 100.0, ""),
            (records(possible, impossible), -100.0, "paris"),
        ):
            task = answering(data, 80, 10)
            only = records(possible)
            items = task.items(only, training=True)
            scores = [torch.zeros(len(item), 2) for item in items]
            for part in scores:
                part[0] = null
            scores[-1][items[-1].target[0], 0] = scores[-1][items[-1].target[1], 1] = 9.0
            decoded = task.decode(concatenated(scores), joined(items), items)
            answers = task.answers(only, items, decoded)
            assert answers.predictions == [expected]
            assert answers.metrics["exact_match"] == float(expected == "paris")

    def test_loss_is_cross_entropy_of_start_and_end_within_the_window(self) -> None:
        data = records(question("the cat", "cat"), question("a river bank of good money .", "good"))
        task = answering(data, 96, 8)
        items = task.items(data, training=True)
        scores = torch.randn(sum(map(len, items)), 2, generator=torch.Generator().manual_seed(0))
        parts = torch.split(scores, [len(item) for item in items])
        expected = -sum(
            part[:, side].log_softmax(0)[item.target[side]]
            for part, item in zip(parts, items, strict=True)
            for side in (0, 1)
        )
        torch.testing.assert_close(task.loss(scores, joined(items), items), expected / 4)

    def test_answer_not_contained_in_any_window_is_counted_and_trained_as_no_answer(self) -> None:
        context = "the good " * 60 + "paris"
        data = records(question(context, context), question(context, "paris"), question(context, None))
        items = answering(data, 80, 10).items(data, training=True)
        assert all(item.target == (0, 0) for item in items if item.record == 0)
        assert data.treated["answers not contained in any window: trained as no answer"] == 1

    def test_long_or_empty_questions_and_empty_contexts_are_counted(self) -> None:
        data = records(question("", None, text="is " * 70), question("cat", "cat", text=" "))
        task = answering(data, 96, 8)
        items = task.items(data, training=False)
        assert data.treated == {
            "questions cut to 64 tokens": 1,
            "empty contexts: kept": 1,
            "empty questions: kept": 1,
        }
        scores = torch.zeros(sum(map(len, items)), 2)
        assert task.answers(data, items, task.decode(scores, joined(items), items)).predictions[0] == ""

    def test_too_large_window_overlap_raises(self) -> None:
        with pytest.raises(UserError, match="cannot overlap by 32"):
            answering(records(question("cat", "cat")), 96, 32)

    def test_best_span_is_ordered_and_at_most_max_answer_tokens(self) -> None:
        scores = np.zeros((50, 2), np.float32)
        scores[40, 0] = scores[3, 1] = 9.0  # would end before it begins
        places = [None, *((n, n + 1) for n in range(48)), None]
        span = best_span(scores, places)
        assert span is not None
        assert span.score == 9.0  # of a start or an end, but not of both
        assert span.begin < span.end
        scores[:, 0] = scores[:, 1] = -5.0
        scores[2, 0] = scores[45, 1] = 9.0  # 44 tokens
        span = best_span(scores, places)
        assert span is not None
        assert span.end - span.begin <= 30

    def test_threshold_of_no_answer_maximises_f1(self) -> None:
        cases = [(-3.0, 1.0, 0.0), (-1.0, 0.0, 1.0), (0.5, 0.5, 0.0), (2.0, 0.0, 1.0)]
        sums = {t: sum(yes if diff <= t else no for diff, yes, no in cases) for t in (-4.0, -3.0, -1.0, 0.5, 2.0)}
        assert sums[best_threshold(cases)] == max(sums.values()) == 3.0
        assert best_threshold([(1.0, 0.0, 1.0)]) == 0.0
        assert best_threshold([]) == 0.0

    def test_answerable_and_unanswerable_questions_have_their_own_figures(self) -> None:
        data = records(question("the cat", "cat"), question("the cat", None))
        task = answering(data, 96, 8)
        items = task.items(data, training=False)
        scores = torch.zeros(sum(map(len, items)), 2)
        answers = task.answers(data, items, task.decode(scores, joined(items), items))
        assert {"HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"} <= answers.metrics.keys()
        assert set(answers.metrics) & {"HasAns_f1", "NoAns_f1"}
        tuned = task.tuned(data, items, task.decode(scores, joined(items), items))
        assert tuned.state()["may_abstain"]


class TestChoice:
    data = records(
        {"context": "the cat", "choices": ["is good", "was bad", "a film"], "label": 1},
        {"context": "money", "choices": ["good", "bad"], "label": 0},
    )

    def test_one_row_per_choice_and_loss_over_choices(self) -> None:
        task = Choice(VOCAB, 16)
        items = task.items(self.data, training=True)
        assert [len(item.rows) for item in items] == [3, 2]
        assert pieces(items[1].rows[1].input_ids) == ["[CLS]", "money", "[SEP]", "bad", "[SEP]"]
        scores = torch.tensor([[1.0], [2.0], [0.0], [0.5], [1.5]])
        expected = -(scores[:3, 0].log_softmax(0)[1] + scores[3:, 0].log_softmax(0)[0]) / 2
        torch.testing.assert_close(task.loss(scores, joined(items), items), expected)
        decoded = task.decode(scores, joined(items), items)
        answers = task.answers(self.data, items, decoded)
        assert (answers.predictions, answers.metrics) == ([1, 1], {"accuracy": 0.5})
        assert [len(detail["probabilities"]) for detail in answers.details] == [3, 2]

    def test_empty_texts_and_truncated_rows_are_counted(self) -> None:
        data = records(
            {"context": " ", "choices": ["good", "bad"], "label": 0},
            {"context": "the cat", "choices": ["good " * 20, "bad"], "label": 0},
        )
        items = Choice(VOCAB, 16).items(data, training=True)
        assert len(items) == 2
        assert data.treated == {
            "records with an empty context or choice: kept": 1,
            "records with rows cut to 16 tokens": 1,
        }
