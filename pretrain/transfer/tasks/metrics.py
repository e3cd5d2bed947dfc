"""Metrics, computed by the libraries commonly used to report them: scikit-learn, SciPy, seqeval.

Exact match and F1 of answers follow SQuAD's published evaluation (Rajpurkar et al. 2016, section 6.1).
"""

from __future__ import annotations

import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

from pretrain.transfer.tasks.schemes import OUTSIDE, Scheme

ARTICLES = re.compile(r"\b(a|an|the)\b")


def classification(truth: Sequence[str], predicted: Sequence[str], positive: str | None = None) -> dict[str, float]:
    """Return accuracy, F1 of the class `positive`, macro F1 over the labels in `truth`, and Matthews' correlation."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    def f1(labels: Sequence[str]) -> float:
        return float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0.0))

    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        **({"f1": f1([positive])} if positive is not None else {}),
        "macro_f1": f1(sorted(set(truth))),
        "mcc": float(matthews_corrcoef(truth, predicted)),
    }


def multi_label(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return micro F1, macro F1 over the labels in `truth`, and the share of records with all labels right."""
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    binarizer = MultiLabelBinarizer().fit([*truth, *predicted])
    true, found = binarizer.transform(truth), binarizer.transform(predicted)
    occurring = true.sum(0) > 0

    def f1(average: str) -> float:
        columns = occurring if average == "macro" else slice(None)
        if not true[:, columns].size:
            return 0.0
        return float(f1_score(true[:, columns], found[:, columns], average=average, zero_division=0.0))

    exact = sum(set(one) == set(other) for one, other in zip(truth, predicted, strict=True))
    return {"micro_f1": f1("micro"), "macro_f1": f1("macro"), "exact_match": exact / len(truth)}


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


def tags(truth: Sequence[list[str]], predicted: Sequence[list[str]], scheme: Scheme) -> dict[str, float]:
    """Return F1, precision, recall of entities and accuracy of tokens; for plain labels, accuracy and macro F1.

    Entities count as conlleval counts them under BIO, and strictly by the scheme under BILOU and IOBES. Macro F1 is
    over the labels that occur in `truth`, without O.
    """
    if scheme is Scheme.plain:
        true, found = ([label for sentence in side for label in sentence] for side in (truth, predicted))
        return plain_tags(true, found)
    if scheme is Scheme.iobes:
        truth, predicted = ([[_inside(label) for label in labels] for labels in side] for side in (truth, predicted))
    return entities(truth, predicted, scheme)


def plain_tags(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the accuracy of tokens, and macro F1 over the labels in `truth`, O only if there is no other."""
    from sklearn.metrics import accuracy_score, f1_score

    labels = sorted(set(truth) - {OUTSIDE}) or [OUTSIDE]
    macro = f1_score(truth, predicted, labels=labels, average="macro", zero_division=0.0)
    return {"accuracy": float(accuracy_score(truth, predicted)), "macro_f1": float(macro)}


def entities(
    truth: Sequence[list[str]], predicted: Sequence[list[str]], scheme: Scheme = Scheme.bio
) -> dict[str, float]:
    """Return micro F1, precision and recall of complete entities, and the accuracy of tokens."""
    from seqeval import scheme as schemes
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    of_scheme = {Scheme.bilou: schemes.BILOU, Scheme.iobes: schemes.IOBES}.get(scheme)
    strict = {"mode": "strict", "scheme": of_scheme} if of_scheme else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes without predictions
        return {
            "f1": float(f1_score(truth, predicted, **strict)),
            "precision": float(precision_score(truth, predicted, **strict)),
            "recall": float(recall_score(truth, predicted, **strict)),
            "accuracy": float(accuracy_score(truth, predicted)),
        }


def _inside(label: str) -> str:
    return f"I{label[1:]}" if label.startswith("M-") else label


def has_and_no_answer(truth: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """Return exact match and F1 of answerable and of unanswerable questions, by the names of SQuAD 2's evaluation."""
    pairs = list(zip(truth, predicted, strict=True))
    figures: dict[str, float] = {}
    for name, chosen in (("HasAns", [p for p in pairs if p[0]]), ("NoAns", [p for p in pairs if not p[0]])):
        if chosen:
            of_kind = spans(*map(list, zip(*chosen, strict=True)))
            figures |= {f"{name}_exact": of_kind["exact_match"], f"{name}_f1": of_kind["f1"]}
    return figures


def spans(truth: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """Return exact match and token F1, each against the best true answer; unanswerable questions have none."""
    pairs = list(zip(truth, predicted, strict=True))
    exact = [best(exact_match, answers, text) for answers, text in pairs]
    overlap = [best(token_f1, answers, text) for answers, text in pairs]
    return {"exact_match": sum(exact) / len(exact), "f1": sum(overlap) / len(overlap)}


def best(measure: Callable[[str, str], float], answers: Sequence[str], predicted: str) -> float:
    """Return the highest measure over the true answers; without true answers, compare with the empty answer.

    As published, an answer that normalisation empties is none: beside others it would make the empty prediction right.
    """
    return max(measure(answer, predicted) for answer in list(filter(normalise, answers)) or [""])


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
