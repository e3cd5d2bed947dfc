"""Reference pairs follow the published algorithm, and each says truly where its segments come from."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from configs.schema import DataConfig
from preprocessing.rows.pairs import Pairs, make_pairs
from preprocessing.rows.segments import FOLLOWS, RANDOM
from tests.preprocessing.token_documents import (
    VOCABULARY,
    content,
    documents_of_lengths,
    fair_share,
    is_slice,
    make_documents,
    rows_of,
    segments,
    source,
    within_4_sigma,
)


def make_config(max_seq_length: int = 16, short_seq_prob: float = 0.0) -> DataConfig:
    return DataConfig(
        nsp_mode="reference",
        max_seq_length=max_seq_length,
        short_seq_prob=short_seq_prob,
        max_predictions_per_seq=3,
    )


@settings(deadline=None)  # the first call compiles
@given(documents_of_lengths, st.integers(16, 40), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3))
def test_each_segment_is_what_its_provenance_says(
    lengths: list[list[int]], max_seq_length: int, short_seq_prob: float, pass_number: int
) -> None:
    documents = make_documents(lengths)

    pairs = make_pairs(documents, make_config(max_seq_length, short_seq_prob), VOCABULARY, pass_number)

    for row in range(len(pairs)):
        a, b = segments(pairs, row)
        source_a = source(documents, pairs.a_first_sentence[row], pairs.a_sentences[row])
        source_b = source(documents, pairs.b_first_sentence[row], pairs.b_sentences[row])
        assert is_slice(a, source_a)
        assert is_slice(b, source_b)
        assert (len(a), len(b)) == fair_share(len(source_a), len(source_b), max_seq_length - 3)
        for document, first, sentences in (
            (pairs.a_document[row], pairs.a_first_sentence[row], pairs.a_sentences[row]),
            (pairs.b_document[row], pairs.b_first_sentence[row], pairs.b_sentences[row]),
        ):
            start, end = documents.document_offsets[[document, document + 1]]
            assert start <= first < first + sentences <= end


@settings(deadline=None)
@given(documents_of_lengths, st.integers(0, 3))
def test_the_label_says_whether_b_follows_a(lengths: list[list[int]], pass_number: int) -> None:
    documents = make_documents(lengths)

    pairs = make_pairs(documents, make_config(), VOCABULARY, pass_number)

    for row in range(len(pairs)):
        if pairs.next_sentence_label[row] == RANDOM:
            assert pairs.a_document[row] != pairs.b_document[row]
        else:
            assert pairs.next_sentence_label[row] == FOLLOWS
            assert pairs.a_document[row] == pairs.b_document[row]
            source_a = source(documents, pairs.a_first_sentence[row], pairs.a_sentences[row])
            source_b = source(documents, pairs.b_first_sentence[row], pairs.b_sentences[row])
            assert source_b[0] == source_a[-1] + 1


@settings(deadline=None)
@given(documents_of_lengths, st.sampled_from([0.0, 1.0]), st.integers(0, 3))
def test_every_sentence_is_used_once(lengths: list[list[int]], short_seq_prob: float, pass_number: int) -> None:
    documents = make_documents(lengths)

    pairs = make_pairs(documents, make_config(short_seq_prob=short_seq_prob), VOCABULARY, pass_number)

    used: list[int] = []
    for row in range(len(pairs)):
        used += source(documents, pairs.a_first_sentence[row], pairs.a_sentences[row])
        if pairs.next_sentence_label[row] == FOLLOWS:
            used += source(documents, pairs.b_first_sentence[row], pairs.b_sentences[row])
    if pairs.drops["no_other_document"]:
        assert len(set(used)) == len(used)
    else:
        assert used == documents.ids.tolist()  # in order, too: what a random B displaced comes next
        assert pairs.drops["lone_sentence"] == 0


@settings(deadline=None)
@given(documents_of_lengths, st.lists(st.sampled_from("xyz"), min_size=6, max_size=6), st.integers(0, 3))
def test_a_random_segment_never_has_the_same_digest(
    lengths: list[list[int]], names: list[str], pass_number: int
) -> None:
    documents = make_documents(lengths, names[: len(lengths)])

    pairs = make_pairs(documents, make_config(), VOCABULARY, pass_number)

    digests = documents.digests
    same = (digests[pairs.a_document] == digests[pairs.b_document]).all(axis=1)
    assert (same == (pairs.next_sentence_label == FOLLOWS)).all()


def test_documents_of_one_sentence_make_random_pairs() -> None:
    pairs = make_pairs(make_documents([[3], [2]]), make_config(), VOCABULARY, 0)

    assert rows_of(pairs) == [([5, 6, 7], [8, 9], RANDOM), ([8, 9], [5, 6, 7], RANDOM)]
    assert pairs.a_document.tolist() == [0, 1]
    assert pairs.b_document.tolist() == [1, 0]


def test_a_lone_document_makes_true_pairs_and_drops_lone_sentences() -> None:
    # 13 tokens fill a row: the chunks are {12, 2}, {20} and {1, 3}.
    pairs = make_pairs(make_documents([[12, 2, 20, 1, 3]]), make_config(), VOCABULARY, 0)

    (a, b, label), last = rows_of(pairs)
    assert (len(a), b, label) == (11, [17, 18], FOLLOWS)
    assert last == ([39], [40, 41, 42], FOLLOWS)
    assert (pairs.drops["no_other_document"], pairs.drops["lone_sentence"]) == (1, 1)


def test_copies_of_one_document_are_no_other_documents() -> None:
    pairs = make_pairs(make_documents([[3], [3]], names=["same", "same"]), make_config(), VOCABULARY, 0)

    assert (len(pairs), pairs.drops["no_other_document"], pairs.drops["lone_sentence"]) == (0, 2, 2)


def test_empty_sentences_and_documents_are_passed_over() -> None:
    pairs = make_pairs(make_documents([[], [0, 3, 0], [0], [2, 0], []]), make_config(), VOCABULARY, 0)

    assert rows_of(pairs) == [([5, 6, 7], [8, 9], RANDOM), ([8, 9], [5, 6, 7], RANDOM)]
    assert pairs.a_document.tolist() == [1, 3]
    assert pairs.a_first_sentence.tolist() == [1, 4]
    assert pairs.drops["no_other_document"] == 0


@pytest.mark.parametrize("lengths", [[], [[]], [[0], [0, 0]]])
def test_no_tokens_make_no_pairs(lengths: list[list[int]]) -> None:
    pairs = make_pairs(make_documents(lengths), make_config(), VOCABULARY, 0)

    assert (len(pairs), len(pairs.input_ids), pairs.input_offsets.tolist()) == (0, 0, [0])


def test_a_true_pair_fills_the_target_with_whole_sentences() -> None:
    # 13 tokens: three sentences of five reach it.
    documents = make_documents([[5] * 3_000, [5] * 3_000])

    pairs = make_pairs(documents, make_config(), VOCABULARY, 0)

    follows = pairs.next_sentence_label == FOLLOWS
    inside = np.diff(pairs.a_document, append=-1) == 0  # a document's last chunk may be smaller
    assert set((pairs.a_sentences + pairs.b_sentences)[follows & inside].tolist()) == {3}
    # A random B makes up for what A lacks: three of 5 or two, unless the document ends.
    wanted = {1: 2, 2: 1}
    ends = documents.document_offsets[pairs.b_document + 1]
    for row in np.flatnonzero(~follows):
        to_the_end = ends[row] - pairs.b_first_sentence[row]
        assert pairs.b_sentences[row] == min(wanted[int(pairs.a_sentences[row])], to_the_end)


def test_half_the_chunks_of_several_sentences_get_a_random_segment() -> None:
    pairs = make_pairs(make_documents([[5] * 4_000] * 10), make_config(), VOCABULARY, 0)

    # Only the last chunk of a document may be a lone sentence.
    assert within_4_sigma(int((pairs.next_sentence_label == RANDOM).sum()), len(pairs), 0.5)


def test_chunks_are_cut_between_any_two_sentences_alike() -> None:
    pairs = make_pairs(make_documents([[1] * 26_000] * 2), make_config(), VOCABULARY, 0)

    counts = np.bincount(pairs.a_sentences, minlength=13)
    assert counts[0] == 0
    assert len(counts) == 13
    # Chunks of 13 sentences but for the documents' last: 12 places to cut.
    assert all(within_4_sigma(count, len(pairs), 1 / 12) for count in counts[1:].tolist())


def test_other_documents_are_drawn_alike_and_so_are_their_sentences() -> None:
    documents = make_documents([[13] * 2_000, *([[1] * 40] * 20)], names=["long", *map(str, range(18)), "twin", "twin"])

    pairs = make_pairs(documents, make_config(), VOCABULARY, 0)

    of_long = pairs.b_document[pairs.a_document == 0]
    counts = np.bincount(of_long, minlength=21)[1:]
    assert counts.sum() == 2_000
    assert all(within_4_sigma(count, 2_000, 1 / 20) for count in counts.tolist())
    starts = (pairs.b_first_sentence - documents.document_offsets[pairs.b_document])[pairs.a_document == 0]
    assert all(within_4_sigma(count, 2_000, 1 / 40) for count in np.bincount(starts, minlength=40).tolist())


def test_short_targets_are_drawn_a_document() -> None:
    documents = make_documents([[1] * 30] * 4_000)

    pairs = make_pairs(documents, make_config(short_seq_prob=0.25), VOCABULARY, 0)

    short_documents = set(pairs.a_document[pairs.short].tolist())
    assert short_documents.isdisjoint(pairs.a_document[~pairs.short].tolist())
    assert within_4_sigma(len(short_documents), 4_000, 0.25)
    # The first pair of a short document tells its target, 2 to 13, when B follows A.
    firsts = np.flatnonzero(np.diff(pairs.a_document, prepend=-1) != 0)
    told = firsts[pairs.short[firsts] & (pairs.next_sentence_label[firsts] == FOLLOWS)]
    targets = np.bincount((pairs.a_sentences + pairs.b_sentences)[told], minlength=14)
    assert targets[:2].tolist() == [0, 0]
    assert all(within_4_sigma(count, len(told), 1 / 12) for count in targets[2:].tolist())


def test_tokens_are_cut_from_front_and_back_by_fair_coins() -> None:
    documents = make_documents([[50] * 3_000, [50] * 3_000])

    pairs = make_pairs(documents, make_config(), VOCABULARY, 0)

    # Each row has 13 of 100 tokens: 6 of B and 7 of A, 43 cut from A.
    a_front = [
        segments(pairs, row)[0][0] - source(documents, pairs.a_first_sentence[row], 1)[0] for row in range(len(pairs))
    ]
    assert within_4_sigma(sum(a_front), 43 * len(pairs), 0.5)
    assert np.var(a_front) == pytest.approx(43 / 4, rel=0.15)


def test_pairs_hang_on_the_set_of_documents_not_on_their_order() -> None:
    lengths = [[number % 7 + 1] * (number % 5 + 1) for number in range(50)]
    names = [str(number) for number in range(50)]
    order = np.random.default_rng(0).permutation(50)
    forth = make_documents(lengths, names)
    back = make_documents([lengths[place] for place in order], [names[place] for place in order])
    config = make_config(short_seq_prob=0.3)

    assert content(make_pairs(forth, config, VOCABULARY, 1), forth) == content(
        make_pairs(back, config, VOCABULARY, 1), back
    )


def test_the_same_call_gives_the_same_pairs() -> None:
    documents = make_documents([[4] * 50] * 5)

    first, second = (make_pairs(documents, make_config(), VOCABULARY, 3) for _ in range(2))

    for field in fields(Pairs):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_another_pass_seed_or_copy_gives_other_pairs() -> None:
    documents = make_documents([[4] * 500] * 2, names=["a", "b"])
    config = make_config()
    other_seed = config.model_copy(update={"seed": config.seed + 1})

    labels = [
        make_pairs(documents, config, VOCABULARY, 0).next_sentence_label.tobytes(),
        make_pairs(documents, config, VOCABULARY, 1).next_sentence_label.tobytes(),
        make_pairs(documents, other_seed, VOCABULARY, 0).next_sentence_label.tobytes(),
    ]

    assert len(set(labels)) == 3
    copies = make_documents([[4] * 500] * 3, names=["a", "a", "b"])
    pairs = make_pairs(copies, config, VOCABULARY, 0)
    of_copies = [pairs.next_sentence_label[pairs.a_document == copy].tobytes() for copy in (0, 1)]
    assert of_copies[0] != of_copies[1]


def test_keys_of_rows_are_all_different_and_the_same_in_each_pass() -> None:
    documents = make_documents([[13] * 100] * 30)

    first, second = (make_pairs(documents, make_config(), VOCABULARY, pass_number) for pass_number in range(2))

    assert len(set(first.keys.tolist())) == len(first) == 3_000
    assert first.keys.tolist() == second.keys.tolist()  # one row a sentence here, so the rows have the same numbers
