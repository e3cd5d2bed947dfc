"""Rows that obey every rule but deviate from the recipe's probabilities are detected by their totals."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocessing.dataset.shard import Rows
from preprocessing.inspection.shard_checks import ALL_SHARDS, Failure
from preprocessing.inspection.statistical_tests import share_deviation
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import WORDS, make_documents, small_config, write_text
from tests.preprocessing.mending import rewrite

MASK = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About a thousand balanced pairs, in one shard per split and pass."""
    folder = tmp_path_factory.mktemp("whole")
    corpus = write_text(folder / "corpus.txt", make_documents(400))
    prepare(small_config(folder / "dataset", corpus, group_bytes=1_000_000))
    return folder / "dataset"


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


def masked_places(rows: Rows) -> np.ndarray:
    places: np.ndarray = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets)) + rows.masked_lm_positions
    return places


def mask_all(rows: Rows) -> None:
    rows.input_ids[masked_places(rows)] = MASK


def keep_all(rows: Rows) -> None:
    rows.input_ids[masked_places(rows)] = rows.masked_lm_ids


def replace_half(rows: Rows) -> None:
    rows.input_ids[masked_places(rows)[::2]] = 5 + np.arange(len(rows.masked_lm_ids[::2])) % 100


def mask_the_front(rows: Rows) -> None:
    """Mask the first tokens of each row instead, in the same number."""
    keep_all(rows)
    for row in range(len(rows)):
        span = slice(*rows.masked_offsets[row : row + 2])
        free = np.delete(np.arange(int(np.diff(rows.input_offsets)[row])), [0, int(rows.segment_a_length[row]) - 1, -1])
        rows.masked_lm_positions[span] = free[: span.stop - span.start]
    places = masked_places(rows)
    rows.masked_lm_ids[:] = rows.input_ids[places]
    fate = np.random.default_rng(1).random(len(places))
    rows.input_ids[places[fate < 0.8]] = MASK
    random = places[fate > 0.9]
    rows.input_ids[random] = 5 + np.arange(len(random)) % 100


def call_long_pairs_random(rows: Rows) -> None:
    lengths = np.diff(rows.input_offsets)
    rows.next_sentence_label[:] = 0
    rows.next_sentence_label[np.argsort(lengths, kind="stable")[len(lengths) // 2 :]] = 1


def call_all_random(rows: Rows) -> None:
    rows.next_sentence_label[:] = 1


def hold(what: str) -> str:
    return f"masked positions hold {what} as often as requested"


LENGTH, HALF = "the length of the pair does not predict the label", "half of the rows are labelled 1"


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (mask_all, {hold("[MASK]"), hold("their own token"), hold("another token")}),
        (keep_all, {hold("[MASK]"), hold("their own token"), hold("another token")}),
        (replace_half, {hold("[MASK]"), hold("their own token"), hold("another token")}),
        (mask_the_front, {"masked positions are distributed evenly over a row"}),
        (call_long_pairs_random, {LENGTH}),
        (call_all_random, {HALF}),
    ],
)
@pytest.mark.parametrize("pass_number", [0, 1])
def test_deviation_from_the_probabilities_is_reported(
    dataset: Path, change: Callable[[Rows], None], rules: set[str], pass_number: int
) -> None:
    def labelled(rows: Rows) -> None:
        change(rows)
        ones.append(int(rows.next_sentence_label.sum()))

    ones: list[int] = []
    [shard] = rewrite(dataset, labelled, "train", pass_number)
    if pass_number == 0:
        rewrite(dataset, lambda rows: None, random_next_pairs=sum(ones))
    failures = list(verify(dataset))
    assert rules <= {failure.rule for failure in failures if failure.file == shard.name}
    assert {failure.file for failure in failures} <= {shard.name, ALL_SHARDS}


def test_deviation_reports_its_value(dataset: Path) -> None:
    [shard] = rewrite(dataset, call_all_random, "train", 1)
    found = f"({shard.rows:,} of {shard.rows:,}, a share of 1.0000 where 0.5000 is expected)"
    assert f"{shard.name}: {HALF} {found}" in list(map(str, verify(dataset)))


def test_small_bias_of_every_shard_is_detected_in_the_total(dataset: Path) -> None:
    """Each shard alone is within its bound."""

    def nudge(rows: Rows) -> None:
        places = masked_places(rows)
        kept = np.flatnonzero(rows.input_ids[places] != MASK)
        rows.input_ids[places[kept[:: 1 if len(kept) < 300 else 3]]] = MASK

    for split, pass_number in (("train", 0), ("train", 1)):
        rewrite(dataset, nudge, split, pass_number)  # type: ignore[arg-type]
    assert Failure(ALL_SHARDS, hold("[MASK]")) in list(verify(dataset))


def test_single_swapped_label_of_pass_0_is_detected(dataset: Path) -> None:
    def swap(rows: Rows) -> None:
        rows.next_sentence_label[5] ^= 1

    rewrite(dataset, swap)
    assert [failure.rule for failure in verify(dataset)] == [
        "statistics.random_next_pairs is the number of rows labelled 1"
    ]


def test_row_with_too_few_masks_is_detected(dataset: Path) -> None:
    def drop_one(rows: Rows) -> Rows:
        keep_last = np.ones(len(rows.masked_lm_ids), np.bool_)
        last = rows.masked_offsets[1] - 1
        keep_last[last] = False
        rows.input_ids[rows.masked_lm_positions[last]] = rows.masked_lm_ids[last]
        offsets = rows.masked_offsets - (np.arange(len(rows) + 1) > 0).astype(np.int32)
        return dataclasses.replace(
            rows,
            masked_lm_positions=rows.masked_lm_positions[keep_last],
            masked_lm_ids=rows.masked_lm_ids[keep_last],
            masked_offsets=offsets,
        )

    [shard] = rewrite(dataset, drop_one, "train", 1)
    assert list(verify(dataset)) == [Failure(shard.name, "the number of masked tokens follows masked lm prob", 0, 1)]


def test_reference_labels_are_random_except_for_chunks_of_one_sentence(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(400))
    manifest = prepare(small_config(tmp_path / "dataset", corpus, nsp_mode="reference"))
    rows = sum(shard.rows for shard in manifest.select("train", 0))
    assert 0 < manifest.statistics.forced_random_pairs < manifest.statistics.random_next_pairs
    rewrite(tmp_path / "dataset", call_all_random, random_next_pairs=rows)
    [failure] = verify(tmp_path / "dataset")
    assert failure.rule == "half of the rows whose chunk has two sentences are labelled 1"


def test_certain_event_must_not_fail_once() -> None:
    assert list(share_deviation(10, 10, 1.0, 4.0, "all")) == []
    assert len(list(share_deviation(9, 10, 1.0, 4.0, "all"))) == 1
    assert list(share_deviation(0, 0, 0.5, 4.0, "none to see")) == []


def test_bound_of_many_trials_is_4_sigma() -> None:
    trials, sigma = 10**8, 0.5 * 10**4
    for sigmas, expected in ((3.99, 0), (4.01, 1)):
        found = round(trials / 2 + sigmas * sigma)
        assert len(list(share_deviation(found, trials, 0.5, 4.0, "coin"))) == expected


@pytest.mark.parametrize("masking", ["whole_word_masking", "mask_word_once"])
@pytest.mark.parametrize("kind", ["wordpiece", "tokenizer"])
def test_words_that_hardly_fit_are_masked_less_often(tmp_path: Path, kind: str, masking: str) -> None:
    """Words of as many tokens as letters: a full stop, often at the end of a row, always fits. That is no failure."""
    corpus = write_text(tmp_path / "corpus.txt", make_documents(400))
    vocabulary: dict[str, object] = {"kind": kind, "size": 300}
    if kind == "wordpiece":
        letters = sorted({letter.lower() for letter in corpus.read_text() if letter.isalnum()})
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{letter}" for letter in letters)]
        (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
        vocabulary = {"file": str(tmp_path / "vocab.txt")}
    rows = {"objective": "none", "max_seq_length": 48, "max_predictions_per_seq": 7, "accept_losses": True}
    prepare(small_config(tmp_path / "dataset", corpus, vocabulary=vocabulary, **rows, **{masking: True}))
    assert list(verify(tmp_path / "dataset")) == []


def test_masks_at_the_front_of_words_are_reported(tmp_path: Path) -> None:
    """Each word is one token, so no rule about whole words is broken."""
    corpus = write_text(tmp_path / "corpus.txt", make_documents(400))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "text", "begins", *WORDS, *map(str, range(400))]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    rows = {"objective": "none", "group_bytes": 1_000_000, "whole_word_masking": True}
    prepare(small_config(tmp_path / "dataset", corpus, vocabulary={"file": str(tmp_path / "vocab.txt")}, **rows))
    assert list(verify(tmp_path / "dataset")) == []
    [shard] = rewrite(tmp_path / "dataset", mask_the_front, "train", 1)
    rule = "masked positions are distributed evenly over a row"
    assert {failure.file for failure in verify(tmp_path / "dataset") if failure.rule == rule} == {
        shard.name,
        ALL_SHARDS,
    }
