"""Means over corpora are the means over all of their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretrain.evaluation import _over_all
from pretrain.telemetry.metrics import Evaluation

PART = Evaluation(
    step=3, rows=10, masked_tokens=100, mlm_loss=2.0, mlm_accuracy=0.5, nsp_loss=0.6, nsp_accuracy=0.5, unigram_loss=3.0
)


def test_means_weigh_corpora_by_masked_tokens_and_rows() -> None:
    other = replace(PART, rows=30, masked_tokens=300, mlm_loss=4.0, nsp_loss=0.2)
    mean = _over_all({0: PART, 1: other})
    assert (mean.step, mean.rows, mean.masked_tokens, mean.by_corpus) == (3, 40, 400, {0: PART, 1: other})
    assert mean.mlm_loss == pytest.approx(3.5)
    assert mean.nsp_loss == pytest.approx(0.3)
    assert mean.unigram_loss == pytest.approx(3.0)


def test_single_corpus_is_the_whole() -> None:
    assert _over_all({1: PART}) == PART


def test_without_a_sentence_objective_there_is_no_mean_of_it() -> None:
    part = replace(PART, nsp_loss=None, nsp_accuracy=None)
    assert _over_all({0: part, 1: part}).nsp_loss is None
