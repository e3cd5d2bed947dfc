"""Masks keep the contract, have the published shares, and hang on a row's key and the pass alone."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset.shard import IntArray, Rows
from preprocessing.rows.masking import _span_length, mask_pairs, predictions
from preprocessing.rows.pairs import Pairs, TokenizedDocuments, make_pairs
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary

ROOT = Path(__file__).parents[3]
WORDS = [f"word{number}" for number in range(40)] + [f"##{number}" for number in range(10)]
# Special tokens and unused slots stand between the words, as they may.
VOCABULARY = Vocabulary(
    ("[PAD]", "[unused0]", *WORDS[:10], "[CLS]", "[SEP]", *WORDS[10:20], "[MASK]", "[unused17]", *WORDS[20:], "[UNK]"),
    lowercase=True,
)
ORDINARY = [VOCABULARY.ids[word] for word in WORDS]
CLS, SEP, MASK = (VOCABULARY.ids[token] for token in ("[CLS]", "[SEP]", "[MASK]"))


def make_config(**changes: Any) -> DataConfig:
    return DataConfig.model_validate({"max_seq_length": 64, "max_predictions_per_seq": 20, **changes})


def make_corpus(documents: int = 40, sentences: int = 12, most_tokens: int = 20) -> TokenizedDocuments:
    lengths = np.arange(documents * sentences) ** 2 % 9973 % most_tokens + 1
    digests = b"".join(
        hashlib.sha256(bytes([document % 256, document // 256])).digest() for document in range(documents)
    )
    return TokenizedDocuments(
        ids=np.resize(np.array(ORDINARY, np.uint16), lengths.sum()),
        sentence_offsets=np.append(0, np.cumsum(lengths)),
        document_offsets=np.arange(documents + 1) * sentences,
        digests=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        copies=np.zeros(documents, np.int64),
        corpora=np.zeros(documents, np.int64),
        languages=np.zeros(documents, np.int64),
    )


def pairs_of(corpus: TokenizedDocuments, config: DataConfig) -> Pairs:
    return make_pairs(corpus, config, VOCABULARY.entry(), 0)


def flat_positions(rows: Rows) -> NDArray[np.int64]:
    """The masked positions as indices into input_ids."""
    counts = np.diff(rows.masked_offsets)
    return np.repeat(rows.input_offsets[:-1], counts).astype(np.int64) + rows.masked_lm_positions


@pytest.mark.parametrize("objective", ["nsp", "none"])
def test_single_tokens_are_chosen_like_words_of_one_piece(objective: str) -> None:
    """Two ways to choose, of which the one for single tokens is the quicker one."""
    corpus = make_corpus()
    words = replace(corpus, ids=np.resize(np.array(ORDINARY[:40], np.uint16), len(corpus.ids)))
    config = make_config(objective=objective, masked_lm_prob=0.4, max_predictions_per_seq=40)
    pairs = pairs_of(words, config)
    whole_words = config.model_copy(update={"whole_word_masking": True})
    for pass_number in range(3):
        single, whole = (mask_pairs(pairs, given, VOCABULARY, pass_number) for given in (config, whole_words))
        np.testing.assert_array_equal(single.masked_lm_positions, whole.masked_lm_positions)
        np.testing.assert_array_equal(single.input_ids, whole.input_ids)


@pytest.mark.parametrize(
    ("length", "prob", "most", "count"),
    [
        (5, 0.15, 20, 1),  # 0.75
        (3 + 1, 0.01, 20, 1),  # one at least
        (10, 0.15, 20, 2),  # 1.5, to even
        (30, 0.15, 20, 4),  # 4.5, to even
        (128, 0.15, 20, 19),  # 19.2
        (512, 0.15, 20, 20),  # at most so many
        (5, 0.9, 20, 2),  # 4.5, but three are special
    ],
)
def test_how_many_tokens_are_predicted(length: int, prob: float, most: int, count: int) -> None:
    assert predictions(np.array([length]), np.array([length - 3]), prob, most).tolist() == [count]


@given(st.integers(5, 600), st.floats(0.01, 0.9), st.integers(1, 100))
def test_counts_round_as_python_does(length: int, prob: float, most: int) -> None:
    counts = predictions(np.array([length]), np.array([length - 3]), prob, most)

    assert counts[0] == min(most, max(1, round(length * prob)), length - 3)


@settings(deadline=None)  # the first call compiles
@given(
    st.integers(0, 1_000),
    st.floats(0.01, 0.99),
    st.integers(1, 61),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 1),
)
def test_rows_keep_the_contract(
    pass_number: int, prob: float, most: int, mask_share: float, random_share: float, short_seq_prob: float
) -> None:
    config = make_config(
        masked_lm_prob=prob,
        max_predictions_per_seq=most,
        mask_token_prob=mask_share,
        random_token_prob=random_share,
        short_seq_prob=short_seq_prob,
    )
    pairs = pairs_of(make_corpus(documents=4), config)

    rows = mask_pairs(pairs, config, VOCABULARY, pass_number)

    for row in range(len(rows)):
        begin, end = pairs.input_offsets[row], pairs.input_offsets[row + 1]
        original, masked = pairs.input_ids[begin:end], rows.input_ids[begin:end]
        chosen = slice(rows.masked_offsets[row], rows.masked_offsets[row + 1])
        positions = rows.masked_lm_positions[chosen].astype(np.int64)
        assert len(positions) == min(most, max(1, round((end - begin) * prob)), end - begin - 3)
        assert (np.diff(positions) > 0).all()
        assert not np.isin(original[positions], [CLS, SEP]).any()
        assert rows.masked_lm_ids[chosen].tolist() == original[positions].tolist()
        assert np.isin(masked[positions], [MASK, *ORDINARY]).all()
        untouched = np.setdiff1d(np.arange(end - begin), positions)
        assert masked[untouched].tolist() == original[untouched].tolist()


def test_columns_have_the_contracts_types() -> None:
    pairs = pairs_of(make_corpus(), make_config())

    rows = mask_pairs(pairs, make_config(), VOCABULARY, 0)

    assert rows.provenance is None
    types = {name: column.dtype for name, column in vars(rows).items() if name != "provenance"}
    assert types == {
        "input_ids": np.uint16,
        "input_offsets": np.int32,
        "segment_a_length": np.uint16,
        "masked_lm_positions": np.uint16,
        "masked_lm_ids": np.uint16,
        "masked_offsets": np.int32,
        "next_sentence_label": np.uint8,
    }
    wide = mask_pairs(replace(pairs, input_ids=pairs.input_ids.astype(np.uint32)), make_config(), VOCABULARY, 0)
    assert wide.input_ids.dtype == wide.masked_lm_ids.dtype == np.uint32
    assert wide.input_ids.tolist() == rows.input_ids.tolist()


def test_the_pairs_themselves_stay_as_they_are() -> None:
    pairs = pairs_of(make_corpus(), make_config())
    before = pairs.input_ids.copy()

    mask_pairs(pairs, make_config(), VOCABULARY, 0)

    assert np.array_equal(pairs.input_ids, before)


def within_4_sigma(successes: int, trials: int, probability: float) -> bool:
    return abs(successes - trials * probability) <= 4 * math.sqrt(trials * probability * (1 - probability))


def fates(config: DataConfig) -> tuple[int, int, int, int]:
    """Predictions in all, and of them [MASK], another token, the same token."""
    pairs = pairs_of(make_corpus(documents=1_500), config)
    rows = mask_pairs(pairs, config, VOCABULARY, 0)
    masked = rows.input_ids[flat_positions(rows)]
    is_mask, is_same = masked == MASK, masked == rows.masked_lm_ids
    return len(masked), int(is_mask.sum()), int((~is_mask & ~is_same).sum()), int(is_same.sum())


def test_the_published_shares() -> None:
    total, mask, other, same = fates(make_config())

    assert total > 20_000
    assert within_4_sigma(mask, total, 0.8)
    # One of the 50 random ordinary tokens is the one that stood there.
    assert within_4_sigma(other, total, 0.1 * 49 / 50)
    assert within_4_sigma(same, total, 0.1 + 0.1 / 50)


@pytest.mark.parametrize("share", ["mask", "random", "kept"])
def test_shares_are_settable(share: str) -> None:
    config = make_config(mask_token_prob=float(share == "mask"), random_token_prob=float(share == "random"))

    total, mask, other, same = fates(config)

    assert mask == (total if share == "mask" else 0)
    assert (other > 0) == (share == "random")
    assert (same == total) == (share == "kept")


def test_random_tokens_are_all_ordinary_ones_alike() -> None:
    config = make_config(mask_token_prob=0.0, random_token_prob=1.0)
    rows = mask_pairs(pairs_of(make_corpus(documents=1_000), config), config, VOCABULARY, 0)

    counts = np.bincount(rows.input_ids[flat_positions(rows)], minlength=len(VOCABULARY))

    assert counts[[number for number in range(len(VOCABULARY)) if number not in ORDINARY]].sum() == 0
    assert all(within_4_sigma(count, counts.sum(), 1 / 50) for count in counts[ORDINARY].tolist())


def test_all_positions_are_chosen_alike() -> None:
    config = make_config(max_seq_length=23, short_seq_prob=0.0)
    pairs = pairs_of(make_corpus(documents=1_000), config)
    full = np.flatnonzero((np.diff(pairs.input_offsets) == 23) & (pairs.segment_a_length == 12))

    rows = mask_pairs(pairs, config, VOCABULARY, 0)

    chosen = [rows.masked_lm_positions[rows.masked_offsets[row] : rows.masked_offsets[row + 1]] for row in full]
    counts = np.bincount(np.concatenate(chosen), minlength=23)
    assert counts[[0, 11, 22]].tolist() == [0, 0, 0]
    ordinary = np.delete(counts, [0, 11, 22]).tolist()  # 20 tokens, 3 of them chosen
    assert len(full) > 400
    assert all(within_4_sigma(count, len(full), 3 / 20) for count in ordinary)
    # Two neighbours are chosen together as often as any two.
    both = sum(bool((np.diff(positions) == 1).any() and {5, 6} <= set(positions.tolist())) for positions in chosen)
    assert within_4_sigma(both, len(full), 3 * 2 / (20 * 19))


def test_a_row_of_few_tokens_is_predicted_whole() -> None:
    config = make_config(masked_lm_prob=0.99, mask_token_prob=1.0, random_token_prob=0.0)
    pairs = pairs_of(make_corpus(most_tokens=3), config)

    rows = mask_pairs(pairs, config, VOCABULARY, 0)

    few = [row for row in range(len(rows)) if pairs.input_offsets[row + 1] - pairs.input_offsets[row] <= 23]
    assert few
    for row in few:
        ids = rows.input_ids[rows.input_offsets[row] : rows.input_offsets[row + 1]].tolist()
        a_tokens = int(rows.segment_a_length[row]) - 2
        b_tokens = len(ids) - a_tokens - 3
        assert ids == [CLS, *[MASK] * a_tokens, SEP, *[MASK] * b_tokens, SEP]


def words_of(ids: IntArray, segment_a_length: int) -> list[tuple[int, int, bool]]:
    """Where the row's words begin and end, and whether they are A's; written down on their own."""
    words: list[tuple[int, int, bool]] = []
    for position, token in enumerate(ids.tolist()):
        if token in (CLS, SEP):
            continue
        is_a = position < segment_a_length
        if VOCABULARY.pieces[token].startswith("##") and words and words[-1][1:] == (position, is_a):
            words[-1] = (words[-1][0], position + 1, is_a)
        else:
            words.append((position, position + 1, is_a))
    return words


def masked_rows(config: DataConfig, pairs: Pairs) -> Iterator[tuple[IntArray, int, set[int], int]]:
    """Of each row its original ids, `segment_a_length`, masked positions and how many are to be predicted."""
    rows = mask_pairs(pairs, config, VOCABULARY, 0)
    for row in range(len(rows)):
        ids = pairs.input_ids[pairs.input_offsets[row] : pairs.input_offsets[row + 1]]
        positions = set(rows.masked_lm_positions[rows.masked_offsets[row] : rows.masked_offsets[row + 1]].tolist())
        special = int(np.isin(ids, [CLS, SEP]).sum())
        wanted = min(
            config.max_predictions_per_seq, max(1, round(len(ids) * config.masked_lm_prob)), len(ids) - special
        )
        yield ids, int(rows.segment_a_length[row]), positions, wanted


@pytest.mark.parametrize("objective", ["nsp", "none"])
@pytest.mark.parametrize("once", [False, True])
def test_whole_words_are_masked(objective: str, once: bool) -> None:
    config = make_config(whole_word_masking=True, mask_word_once=once, objective=objective)
    predicted = asked = 0

    for ids, segment_a_length, positions, wanted in masked_rows(config, pairs_of(make_corpus(), config)):
        words = [(set(range(begin, end)), is_a) for begin, end, is_a in words_of(ids, segment_a_length)]
        assert 1 <= len(positions) <= wanted
        if all(len(word) > wanted for word, _ in words):
            assert len(positions) == wanted
            continue
        assert all(word <= positions or word.isdisjoint(positions) for word, _ in words)
        if once:
            chosen = [(tuple(ids[sorted(word)]), is_a) for word, is_a in words if word <= positions]
            assert len(chosen) == len(set(chosen))
        predicted, asked = predicted + len(positions), asked + wanted
    assert predicted > 0.9 * asked


@pytest.mark.parametrize("whole_words", [False, True])
def test_words_are_chosen_alike(whole_words: bool) -> None:
    """Words of one piece, that is: a longer one does not always fit."""
    config = make_config(max_seq_length=23, short_seq_prob=0.0, whole_word_masking=whole_words)
    corpus = make_corpus(documents=2_000)
    corpus = replace(corpus, ids=np.resize(np.array(ORDINARY[:10] + ORDINARY[-4:-3], np.uint16), len(corpus.ids)))

    shares: dict[int, list[bool]] = {}
    for ids, segment_a_length, positions, _ in masked_rows(config, pairs_of(corpus, config)):
        words = words_of(ids, segment_a_length)
        if len(ids) == 23 and segment_a_length == 12 and all(end == begin + 1 for begin, end, _ in words[:8]):
            for begin, _, _ in words[:8]:
                shares.setdefault(begin, []).append(begin in positions)
    together = [taken for of_position in shares.values() for taken in of_position]
    for of_position in shares.values():
        assert len(of_position) > 100
        assert within_4_sigma(sum(of_position), len(of_position), sum(together) / len(together))


def test_equal_pieces_are_masked_once_a_segment() -> None:
    config = make_config(mask_word_once=True, masked_lm_prob=0.9, max_predictions_per_seq=60)
    corpus = make_corpus()
    corpus = replace(corpus, ids=np.resize(np.array(ORDINARY[:5], np.uint16), len(corpus.ids)))

    for ids, segment_a_length, positions, wanted in masked_rows(config, pairs_of(corpus, config)):
        chosen = [(int(ids[position]), position < segment_a_length) for position in positions]
        assert len(set(chosen)) == len(chosen)
        kinds = {
            (token, place < segment_a_length) for place, token in enumerate(ids.tolist()) if token not in (CLS, SEP)
        }
        assert len(chosen) == min(wanted, len(kinds))


def test_a_word_longer_than_what_is_predicted_is_masked_in_part() -> None:
    config = make_config(whole_word_masking=True, max_predictions_per_seq=2)
    corpus = make_corpus()
    corpus = replace(corpus, ids=np.full(len(corpus.ids), VOCABULARY.ids["##3"], np.uint16))
    parts = 0

    for ids, segment_a_length, positions, wanted in masked_rows(config, pairs_of(corpus, config)):
        if all(end - begin > wanted for begin, end, _ in words_of(ids, segment_a_length)):
            assert sorted(positions) in ([*range(1, 1 + wanted)], [*range(segment_a_length, segment_a_length + wanted)])
            parts += 1
    assert parts > 10


def select(pairs: Pairs, chosen: NDArray[np.int64]) -> Pairs:
    """The pairs of these rows alone, in this order, as far as masking looks at them."""
    parts = [pairs.input_ids[pairs.input_offsets[row] : pairs.input_offsets[row + 1]] for row in chosen]
    return replace(
        pairs,
        input_ids=np.concatenate(parts),
        input_offsets=np.cumsum([0, *map(len, parts)]),
        segment_a_length=pairs.segment_a_length[chosen],
        next_sentence_label=pairs.next_sentence_label[chosen],
        keys=pairs.keys[chosen],
    )


def test_masks_do_not_hang_on_the_other_rows() -> None:
    config = make_config()
    pairs = pairs_of(make_corpus(), config)
    chosen = np.random.default_rng(1).permutation(len(pairs))[: len(pairs) // 2]

    together = mask_pairs(pairs, config, VOCABULARY, 2)
    apart = mask_pairs(select(pairs, chosen), config, VOCABULARY, 2)

    for place, row in enumerate(chosen):
        ids = together.input_ids[together.input_offsets[row] : together.input_offsets[row + 1]]
        assert apart.input_ids[apart.input_offsets[place] : apart.input_offsets[place + 1]].tolist() == ids.tolist()


def test_another_pass_gives_other_masks() -> None:
    config = make_config()
    pairs = pairs_of(make_corpus(), config)

    first, second = (mask_pairs(pairs, config, VOCABULARY, pass_number) for pass_number in range(2))

    same = np.isin(flat_positions(first), flat_positions(second)).mean()
    assert same < 0.3  # about 0.15 by chance


def test_more_tokens_than_a_shard_holds_are_refused() -> None:
    pairs = pairs_of(make_corpus(documents=2), make_config())
    huge = replace(pairs, input_ids=np.broadcast_to(np.uint16(0), 2**31))

    with pytest.raises(UserError, match="group_bytes"):
        mask_pairs(huge, make_config(), VOCABULARY, 0)


def digest_of_rows() -> str:
    config = make_config()
    rows = mask_pairs(pairs_of(make_corpus(), config), config, VOCABULARY, 1)
    columns = (column for column in vars(rows).values() if column is not None)
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()


def test_another_process_gives_the_same_bytes() -> None:
    command = f"from {__name__} import digest_of_rows; print(digest_of_rows())"

    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == digest_of_rows()
    # A golden value: where a change is meant to give other rows for the same recipe, put the new one here.
    assert digest_of_rows() == "62ebeebc08fb99755df56b3962d829773ea9607a836927fe1873cb7506323cac"


def test_special_tokens_are_what_the_tests_think() -> None:
    assert set(VOCABULARY.pieces) - set(WORDS) == {*SPECIAL_TOKENS, "[unused0]", "[unused17]"}


@pytest.mark.parametrize("whole", [False, True])
def test_spans_mask_the_requested_share_in_runs_of_words(whole: bool) -> None:
    config = make_config(span_masking=True, whole_word_masking=whole, mask_token_prob=1.0, random_token_prob=0.0)
    pairs = pairs_of(make_corpus(200), config)
    rows = mask_pairs(pairs, config, VOCABULARY, 0)
    lengths, counts = np.diff(rows.input_offsets), np.diff(rows.masked_offsets)
    targets = np.minimum(np.maximum(1, np.rint(0.15 * lengths)), 20).astype(int)
    assert (counts <= targets).all()
    assert whole or (counts == targets).all()
    assert counts.sum() > 0.9 * targets.sum()
    row_m = np.repeat(np.arange(len(rows)), counts)
    follows = (np.diff(rows.masked_lm_positions.astype(int)) == 1) & (np.diff(row_m) == 0)
    singles = mask_pairs(pairs, config.model_copy(update={"span_masking": False}), VOCABULARY, 0)
    row_m = np.repeat(np.arange(len(singles)), np.diff(singles.masked_offsets))
    follows_alone = (np.diff(singles.masked_lm_positions.astype(int)) == 1) & (np.diff(row_m) == 0)
    assert follows.mean() > 0.5 > follows_alone.mean()
    again = mask_pairs(pairs, config, VOCABULARY, 0)
    assert np.array_equal(again.masked_lm_positions, rows.masked_lm_positions)
    other = mask_pairs(pairs, config, VOCABULARY, 1)
    assert not np.array_equal(other.masked_lm_positions, rows.masked_lm_positions)


def test_a_span_of_most_tokens_still_fills_the_row() -> None:
    config = make_config(span_masking=True, masked_lm_prob=0.9, max_predictions_per_seq=61)
    pairs = pairs_of(make_corpus(20), config)
    rows = mask_pairs(pairs, config, VOCABULARY, 0)
    ordinary = np.diff(rows.input_offsets) - np.where(rows.segment_a_length == np.diff(rows.input_offsets), 2, 3)
    targets = np.minimum(np.rint(0.9 * np.diff(rows.input_offsets)), ordinary)
    assert (np.diff(rows.masked_offsets) == targets).all()


def test_span_lengths_are_those_of_spanbert() -> None:
    state = np.array([7], np.uint64)
    lengths = np.array([_span_length(state) for _ in range(20_000)])
    assert (lengths.min(), lengths.max()) == (1, 10)
    assert lengths.mean() == pytest.approx(3.797, abs=0.1)
