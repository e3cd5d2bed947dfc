"""Metrics, computed by the libraries commonly used to report them: scikit-learn, SciPy, seqeval.

Exact match and F1 of answers follow SQuAD's published evaluation (Rajpurkar et al. 2016, section 6.1).
"""

from __future__ import annotations

import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")


def classification(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return accuracy, macro F1 over the labels that occur in `truth`, and Matthews' correlation."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    labels = sorted(set(truth))
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0.0)),
        "mcc": float(matthews_corrcoef(truth, predicted)),
    }


def regression(truth: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation, 0 where a side is constant, and the mean squared error."""
    from scipy.stats import pearsonr, spearmanr

    errors = [(a - b) ** 2 for a, b in zip(truth, predicted, strict=True)]
    constant = len(set(truth)) < 2 or len(set(predicted)) < 2
    return {
        "pearson": 0.0 if constant else float(pearsonr(truth, predicted).statistic),
        "spearman": 0.0 if constant else float(spearmanr(truth, predicted).statistic),
        "mse": sum(errors) / len(errors),
    }


def entities(truth: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    """Return micro F1, precision and recall of complete entities (B-, I- labels), and the accuracy of tokens."""
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about labels outside the scheme, and classes without predictions
        return {
            "f1": float(f1_score(truth, predicted)),
            "precision": float(precision_score(truth, predicted)),
            "recall": float(recall_score(truth, predicted)),
            "accuracy": float(accuracy_score(truth, predicted)),
        }


def spans(truth: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """Return exact match and token F1, each against the best true answer; unanswerable questions have none."""
    pairs = list(zip(truth, predicted, strict=True))
    exact = [best(exact_match, answers, text) for answers, text in pairs]
    overlap = [best(token_f1, answers, text) for answers, text in pairs]
    return {"exact_match": sum(exact) / len(exact), "f1": sum(overlap) / len(overlap)}


def best(measure: Callable[[str, str], float], answers: Sequence[str], predicted: str) -> float:
    """Return the highest measure over the true answers; without true answers, compare with the empty answer."""
    return max(measure(answer, predicted) for answer in answers or [""])


def exact_match(truth: str, predicted: str) -> float:
    """Return 1 if both are equal after normalisation, else 0."""
    return float(normalise(truth) == normalise(predicted))


def token_f1(truth: str, predicted: str) -> float:
    """Return the F1 of the bags of normalised tokens; if a side has no tokens, 1 if both have none, else 0."""
    true_tokens, tokens = normalise(truth).split(), normalise(predicted).split()
    if not true_tokens or not tokens:
        return float(true_tokens == tokens)
    shared = sum((Counter(true_tokens) & Counter(tokens)).values())
    return 2 * shared / (len(true_tokens) + len(tokens))


def normalise(text: str) -> str:
    """Return the text in lower case, without punctuation, articles and superfluous white space."""
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", plain).split())
