from __future__ import annotations

import pytest

from configs.errors import UserError
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.schemes import Scheme, scheme_of


def test_classification_metrics() -> None:
    figures = metrics.classification(["a", "a", "b", "b"], ["a", "b", "b", "b"], "b")
    assert figures == {
        "accuracy": 0.75,
        "f1": pytest.approx(4 / 5),
        "macro_f1": pytest.approx((2 / 3 + 4 / 5) / 2),
        "mcc": pytest.approx(1 / 3**0.5),
    }


def test_label_unseen_in_training_counts_as_wrong() -> None:
    figures = metrics.classification(["a", "new"], ["a", "a"])
    assert figures["accuracy"] == 0.5
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_regression_metrics() -> None:
    figures = metrics.regression([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
    assert figures == {"pearson": pytest.approx(0.98974, abs=1e-5), "spearman": 1.0, "mse": pytest.approx(40 / 3)}
    assert metrics.regression([1.0, 2.0], [3.0, 3.0])["pearson"] == 0.0


def test_entities_must_match_completely() -> None:
    truth = [["B-a", "I-a", "O", "B-b"]]
    figures = metrics.entities(truth, [["B-a", "O", "O", "B-b"]])
    assert figures == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}


def test_units_of_bilou_are_not_merged() -> None:
    """Read as BIO, `U-PER U-PER` would be one entity."""
    truth = [["U-PER", "U-PER", "O", "B-LOC", "L-LOC"]]
    assert metrics.tags(truth, truth, Scheme.bilou)["f1"] == 1.0
    found = metrics.tags(truth, [["U-PER", "O", "O", "B-LOC", "L-LOC"]], Scheme.bilou)
    assert found["precision"] == 1.0
    assert found["recall"] == pytest.approx(2 / 3)
    unfinished = metrics.tags(truth, [["U-PER", "U-PER", "O", "B-LOC", "I-LOC"]], Scheme.bilou)
    assert unfinished["recall"] == pytest.approx(2 / 3)


def test_bmes_is_iobes_with_another_letter() -> None:
    truth = [["B-X", "M-X", "E-X", "S-X"]]
    assert metrics.tags(truth, truth, Scheme.iobes)["f1"] == 1.0
    assert metrics.tags(truth, [["B-X", "M-X", "E-X", "O"]], Scheme.iobes)["recall"] == 0.5


def test_plain_tags_have_no_entities() -> None:
    """Read as entities, all of these would have other values: 0 where all is right, 1 where one is missed."""
    parts = [["DET", "NOUN", "VERB"]]
    assert metrics.tags(parts, parts, Scheme.plain) == {"accuracy": 1.0, "macro_f1": 1.0}
    truth, missed = [["O", "PER", "PER", "O", "ORG"]], [["O", "PER", "PER", "O", "O"]]
    assert metrics.tags(truth, missed, Scheme.plain) == {"accuracy": 0.8, "macro_f1": 0.5}
    assert metrics.tags([["O"]], [["O"]], Scheme.plain) == {"accuracy": 1.0, "macro_f1": 1.0}


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ({"B-X", "I-X", "O"}, Scheme.bio),
        ({"I-X", "O"}, Scheme.bio),
        ({"B-X", "L-X", "U-X", "O"}, Scheme.bilou),
        ({"B-X", "E-X", "S-X", "O"}, Scheme.iobes),
        ({"NOUN", "VERB"}, Scheme.plain),
        ({"S-BAR", "NP"}, Scheme.plain),
        ({"ORG", "O"}, Scheme.plain),
        ({"O"}, Scheme.plain),
    ],
)
def test_scheme_of_labels(labels: set[str], scheme: Scheme) -> None:
    assert scheme_of(labels) is scheme


@pytest.mark.parametrize(
    ("labels", "words"), [({"B-X", "ORG"}, "'ORG' has no B- or I-"), ({"B-X", "U-X", "E-X"}, "two schemes")]
)
def test_mixed_schemes_raise(labels: set[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        scheme_of(labels, "a.conll")


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
