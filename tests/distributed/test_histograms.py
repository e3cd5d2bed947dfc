"""Histograms and word vectors in two ranks: the same at every ZeRO stage."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.telemetry.boards.histograms import Histograms
from pretrain.telemetry.boards.projector import word_vectors
from tests.distributed import ranks, small

STAGES = (0, 1, 2, 3)
COUNTS = [number % 7 for number in range(small.VOCABULARY)]


def show_all() -> dict[str, Any]:
    """Runs in each rank: two steps at each stage."""
    world = small.join()
    found = {}
    for stage in STAGES:
        engine = small.engine_of(world, stage, "fp32")
        histograms = Histograms(engine, 2)
        for step in (1, 2):
            histograms.begin(step)
            small.train_step(engine, step)
            shown = histograms.of_step()
        words = word_vectors(engine, COUNTS, "tokens.weight")
        found[str(stage)] = {
            "histograms": {tag: vars(histogram) for tag, histogram in shown.items()},
            "words": [words.ids, words.counts, words.vectors.tolist()],
        }
    return found


def test_two_ranks_show_the_same_at_every_stage() -> None:
    first, second = ranks.run(show_all, 2)
    assert first == second
    names = {name for name, _ in small.build().named_parameters()}
    expected = first["0"]
    ids, counts, vectors = expected["words"]
    assert counts == sorted((count for count in COUNTS if count), reverse=True)
    assert [COUNTS[number] for number in ids] == counts
    assert len(vectors) == len(ids)
    assert len(vectors[0]) == small.WIDTH
    for stage in STAGES:
        found = first[str(stage)]
        assert found["histograms"].keys() == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
        for tag, histogram in found["histograms"].items():
            at_0 = expected["histograms"][tag]
            assert histogram["count"] == sum(histogram["counts"]) == at_0["count"]
            for field in ("least", "greatest", "total", "squares"):
                assert histogram[field] == pytest.approx(at_0[field], rel=1e-4, abs=1e-5), (stage, tag, field)
        assert found["words"][:2] == [ids, counts]
        for row, at_0 in zip(found["words"][2], vectors, strict=True):
            assert row == pytest.approx(at_0, abs=1e-5)
