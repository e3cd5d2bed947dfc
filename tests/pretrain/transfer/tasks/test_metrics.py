from __future__ import annotations

import pytest

from pretrain.transfer.tasks import metrics


def test_classification_metrics() -> None:
    figures = metrics.classification(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert figures == {"accuracy": 0.75, "f1": pytest.approx((2 / 3 + 4 / 5) / 2), "mcc": pytest.approx(1 / 3**0.5)}


def test_label_unseen_in_training_counts_as_wrong() -> None:
    figures = metrics.classification(["a", "new"], ["a", "a"])
    assert figures["accuracy"] == 0.5
    assert figures["f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_regression_metrics() -> None:
    figures = metrics.regression([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
    assert figures == {"pearson": pytest.approx(0.98974, abs=1e-5), "spearman": 1.0, "mse": pytest.approx(40 / 3)}
    assert metrics.regression([1.0, 2.0], [3.0, 3.0])["pearson"] == 0.0


def test_entities_must_match_completely() -> None:
    truth = [["B-a", "I-a", "O", "B-b"]]
    figures = metrics.entities(truth, [["B-a", "O", "O", "B-b"]])
    assert figures == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}


@pytest.mark.parametrize(
    ("truth", "predicted", "exact", "f1"),
    [
        ("The Eiffel Tower", "eiffel tower!", 1.0, 1.0),
        ("Marlee Matlin", "Matlin", 0.0, 2 / 3),
        ("a", "the", 1.0, 1.0),
        ("", "", 1.0, 1.0),
        ("", "x", 0.0, 0.0),
        ("ten ten men", "ten men men", 0.0, 2 / 3),
    ],
)
def test_spans_follow_squads_evaluation(truth: str, predicted: str, exact: float, f1: float) -> None:
    assert metrics.exact_match(truth, predicted) == exact
    assert metrics.token_f1(truth, predicted) == pytest.approx(f1)


def test_spans_are_compared_with_the_best_answer_or_none() -> None:
    assert metrics.spans([["x y", "y"], []], ["y", ""]) == {"exact_match": 1.0, "f1": 1.0}
    assert metrics.spans([[]], ["y"]) == {"exact_match": 0.0, "f1": 0.0}
