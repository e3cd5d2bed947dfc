"""Records are returned sorted, with a stable order of equal ones, for any number of parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing.corpus import external_sort
from preprocessing.corpus.external_sort import ExternalSort, begins, repetitions

KEYS = [0, 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63, 2**64 - 1]
PAIRS = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 2)), max_size=60)


@given(st.lists(PAIRS, max_size=4), st.integers(1, 40))
def test_repetitions_match_a_dictionary(batches: list[list[tuple[int, int]]], records_a_part: int) -> None:
    pairs = [pair for batch in batches for pair in batch]
    first: dict[tuple[int, int], int] = {}
    expected = {place: first[pair] for place, pair in enumerate(pairs) if first.setdefault(pair, place) != place}
    found: dict[int, int] = {}
    total, new = 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "_RECORDS_A_PART", records_a_part)
        with ExternalSort(len(pairs)) as collected:
            for batch in batches:
                keys, rests = (np.array([pair[side] for pair in batch], np.uint64) for side in (0, 1))
                collected.add(keys, rests, np.arange(total, total + len(batch), dtype=np.uint64))
                total += len(batch)
            parts = list(collected.parts())
    for records in parts:
        later, firsts = repetitions(records)
        found.update(zip(later.tolist(), firsts.tolist(), strict=True))
        new += int(begins(records).sum())
    assert found == expected
    assert new == len(set(pairs))
    assert sum(map(len, parts)) == len(pairs)
    keys = np.concatenate([records["key"] for records in parts])
    assert (keys[1:] >= keys[:-1]).all()
