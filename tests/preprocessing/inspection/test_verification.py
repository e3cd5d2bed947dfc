"""A correct data set passes; each kind of damage is reported with its rule, file and row."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from configs.errors import UserError
from preprocessing.dataset.manifest import MANIFEST, Manifest, ShardEntry, Statistics, read_manifest, write_manifest
from preprocessing.dataset.seal import sealed_text
from preprocessing.dataset.shard import Rows, read_shard, write_shard
from preprocessing.inspection.row_rules import original_ids
from preprocessing.inspection.shard_checks import Failure
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.vocabulary.vocabulary import Vocabulary
from tests.preprocessing.corpora import WORDS, make_documents, small_config, write_text
from tests.preprocessing.mending import writable

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(45)))
PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = Vocabulary(PIECES, lowercase=True)
ROWS = 40
COLUMNS = [field.name for field in dataclasses.fields(Rows) if field.name != "provenance"]
BROKEN = 7  # the row that the tests break
SHARD = "shards/00000.0000-p00-train.arrow"


def make_rows(seed: int) -> Rows:
    """Valid rows with two masked positions each, one [MASK] and one kept or replaced."""
    rng = np.random.default_rng(seed)
    inputs, segment_a, positions, labels = [], [], [], []
    for _ in range(ROWS):
        a, b = rng.integers(2, 7, size=2)
        words = rng.integers(5, len(PIECES), size=a + b)
        row = np.concatenate([[CLS], words[:a], [SEP], words[a:], [SEP]])
        chosen = np.array([rng.integers(1, a + 1), rng.integers(a + 2, a + 2 + b)])
        labels.append(row[chosen])
        row[chosen[0]] = MASK
        row[chosen[1]] = rng.integers(5, len(PIECES))
        inputs.append(row)
        segment_a.append(a + 2)
        positions.append(chosen)
    return Rows(
        input_ids=np.concatenate(inputs).astype(np.uint16),
        input_offsets=np.cumsum([0, *map(len, inputs)]).astype(np.int32),
        segment_a_length=np.array(segment_a, np.uint16),
        masked_lm_positions=np.concatenate(positions).astype(np.uint16),
        masked_lm_ids=np.concatenate(labels).astype(np.uint16),
        masked_offsets=(np.arange(ROWS + 1) * 2).astype(np.int32),
        next_sentence_label=rng.integers(0, 2, ROWS).astype(np.uint8),
    )


def write_entry(folder: Path, name: str, rows: Rows) -> ShardEntry:
    with (folder / name).open("wb") as stream:
        size, digest = write_shard(stream, rows, VOCABULARY.entry().sha256)
    return ShardEntry(
        name=name,
        group="00000.0000",
        split="held_out" if "held_out" in name else "train",
        pass_number=int(name.split("-p")[1][:2]),
        rows=len(rows),
        tokens=len(rows.input_ids),
        masked_tokens=len(rows.masked_lm_ids),
        bytes=size,
        sha256=digest,
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    VOCABULARY.write(tmp_path / "vocab.txt")
    names = ["p00-held_out", "p00-train", "p01-train"]
    shards = {name: make_rows(seed) for seed, name in enumerate(names)}
    first = shards["p00-train"]
    manifest = Manifest(
        objective="nsp",
        max_seq_length=16,
        max_predictions_per_seq=2,
        dupe_factor=2,
        recipe={
            "max_seq_length": 16,
            "max_predictions_per_seq": 2,
            "masked_lm_prob": 0.3,
            "mask_token_prob": 0.5,
            "random_token_prob": 0.5,
        },
        digest="0",
        input_digest="0",
        vocabulary=VOCABULARY.entry(),
        shards=[write_entry(tmp_path, f"shards/00000.0000-{name}.arrow", rows) for name, rows in shards.items()],
        drops={},
        statistics=Statistics(
            documents=3,
            sentences=9,
            text_bytes=99,
            held_out_documents=1,
            random_next_pairs=int(first.next_sentence_label.sum()),
            forced_random_pairs=0,
            drawn_targets=2,
            short_targets=0,
            length_histogram=np.bincount(np.diff(first.input_offsets), minlength=17).tolist(),
            token_counts=[*[0] * 5, *np.bincount(original_ids(first), minlength=len(PIECES))[5:].tolist()],
        ),
    )
    write_manifest(tmp_path, manifest)
    return tmp_path


def replace_shard(folder: Path, change: Callable[[Rows], Rows]) -> None:
    """Rewrite the training shard with other rows and correct digest and counts, like a faulty producer."""
    manifest = read_manifest(folder)
    entry = write_entry(folder, SHARD, change(writable(read_shard(folder / SHARD))))
    shards = [entry if shard.name == SHARD else shard for shard in manifest.shards]
    write_manifest(folder, manifest.model_copy(update={"shards": shards}))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads((folder / MANIFEST).read_bytes())
    edit(table)
    (folder / MANIFEST).write_text(sealed_text(table))


def test_correct_data_set_passes_and_every_shard_is_checked(dataset: Path) -> None:
    seen: list[str] = []
    assert list(verify(dataset, lambda shard: seen.append(shard.name))) == []
    assert seen == [shard.name for shard in read_manifest(dataset).shards]


def set_input(rows: Rows, place: int, value: int) -> None:
    rows.input_ids[rows.input_offsets[BROKEN] + place] = value


def set_mask(rows: Rows, which: int, *, position: int | None = None, label: int | None = None) -> None:
    at = rows.masked_offsets[BROKEN] + which
    if position is not None:
        rows.masked_lm_positions[at] = position
    if label is not None:
        rows.masked_lm_ids[at] = label


def length_of(rows: Rows) -> int:
    return int(np.diff(rows.input_offsets)[BROKEN])


ROW_FAULTS: list[tuple[str, Callable[[Rows], None]]] = [
    ("segments match the objective", lambda rows: rows.segment_a_length.__setitem__(BROKEN, 2)),
    (
        "segments match the objective",
        lambda rows: rows.segment_a_length.__setitem__(BROKEN, length_of(rows) - 1),
    ),
    ("masked positions are inside the row", lambda rows: set_mask(rows, 1, position=length_of(rows))),
    ("ids are in the vocabulary", lambda rows: set_input(rows, 1, len(PIECES))),
    ("ids are in the vocabulary", lambda rows: set_mask(rows, 0, label=len(PIECES))),
    ("a row is cls a sep b sep", lambda rows: set_input(rows, 0, 9)),
    ("a row is cls a sep b sep", lambda rows: set_input(rows, int(rows.segment_a_length[BROKEN]) - 1, 9)),
    ("a row is cls a sep b sep", lambda rows: set_input(rows, length_of(rows) - 1, 9)),
    ("special tokens appear nowhere else", lambda rows: set_input(rows, 1, PAD)),
    ("special tokens appear nowhere else", lambda rows: set_input(rows, 1, SEP)),
    ("special tokens appear nowhere else", lambda rows: set_input(rows, 1, CLS)),
    ("masked positions ascend", lambda rows: set_mask(rows, 1, position=1)),
    ("no special token is masked", lambda rows: set_mask(rows, 0, position=0)),
    ("no special token is masked", lambda rows: set_mask(rows, 1, position=length_of(rows) - 1)),
    ("no special token is masked", lambda rows: set_mask(rows, 1, position=int(rows.segment_a_length[BROKEN]) - 1)),
    ("no special token is masked", lambda rows: set_mask(rows, 0, label=MASK)),
    ("the label is valid for the objective", lambda rows: rows.next_sentence_label.__setitem__(BROKEN, 2)),
]


@pytest.mark.parametrize(("rule", "fault"), ROW_FAULTS, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(ROW_FAULTS)])
def test_broken_row_is_reported_with_shard_row_and_rule(
    dataset: Path, rule: str, fault: Callable[[Rows], None]
) -> None:
    def change(rows: Rows) -> Rows:
        if rule == "masked positions ascend":  # the first mask is also at 1
            set_mask(rows, 0, position=1)
        fault(rows)
        return rows

    replace_shard(dataset, change)
    assert Failure(SHARD, rule, BROKEN, 1) in list(verify(dataset))


def test_mask_token_at_an_unmasked_position_is_reported(dataset: Path) -> None:
    def change(rows: Rows) -> Rows:
        masked = rows.masked_lm_positions[2 * BROKEN : 2 * BROKEN + 2]
        free = next(place for place in range(1, int(rows.segment_a_length[BROKEN]) - 1) if place not in masked)
        set_input(rows, free, MASK)
        return rows

    replace_shard(dataset, change)
    assert list(verify(dataset)) == [Failure(SHARD, "special tokens appear nowhere else", BROKEN, 1)]


def test_unknown_token_can_be_kept_but_is_no_replacement(dataset: Path) -> None:
    def change(rows: Rows) -> Rows:
        for row, label in ((BROKEN, 9), (BROKEN + 1, UNK)):
            at = rows.masked_offsets[row] + 1
            rows.masked_lm_ids[at] = label
            rows.input_ids[rows.input_offsets[row] + rows.masked_lm_positions[at]] = UNK
        return rows

    replace_shard(dataset, change)
    rule = "a masked token is mask kept or an ordinary token"
    assert list(verify(dataset)) == [Failure(SHARD, rule, BROKEN, 1)]


def test_rows_with_too_many_tokens_or_masks_are_reported(dataset: Path) -> None:
    edit_manifest(dataset, lambda table: table.update(max_seq_length=12, max_predictions_per_seq=1))
    failures = [failure for failure in verify(dataset) if failure.file == SHARD]
    lengths = np.diff(read_shard(dataset / SHARD).input_offsets)
    too_long = np.flatnonzero(lengths > 12)
    assert failures == [
        Failure(SHARD, "a row has a token per segment and at most max seq length", int(too_long[0]), len(too_long)),
        Failure(SHARD, "a row has 1 to max predictions masked positions", 0, ROWS),
    ]


def test_failure_message_names_file_row_and_rule(dataset: Path) -> None:
    replace_shard(dataset, lambda rows: dataclasses.replace(rows, next_sentence_label=rows.next_sentence_label * 0 + 3))
    assert [str(failure) for failure in verify(dataset)] == [
        f"{SHARD} row 0: the label is valid for the objective (next_sentence_label = 3) (and 39 more rows)"
    ]
    assert str(Failure("vocab.txt", "the file exists")) == "vocab.txt: the file exists"


@pytest.mark.parametrize("column", COLUMNS)
def test_flipped_bit_in_any_column_is_detected(dataset: Path, column: str) -> None:
    content = bytearray((dataset / SHARD).read_bytes())
    values = getattr(read_shard(dataset / SHARD), column).tobytes()
    content[content.index(values) + len(values) // 2] ^= 4
    (dataset / SHARD).write_bytes(content)
    assert list(verify(dataset)) == [Failure(SHARD, "the shard is damaged: its SHA-256 is not the manifest's")]


def test_missing_and_truncated_shards_are_reported(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    assert list(verify(dataset)) == [Failure(SHARD, "the shard is missing")]
    (dataset / SHARD).write_bytes(b"short")
    [failure] = verify(dataset)
    assert failure.rule.startswith("the shard has 5 bytes")


def test_shard_that_is_not_an_arrow_file_is_reported(dataset: Path) -> None:
    from configs.files import sha256_of_file

    (dataset / SHARD).write_bytes(b"not Arrow at all")
    digest = sha256_of_file(dataset / SHARD)
    edit_manifest(dataset, lambda table: table["shards"][1].update(sha256=digest, bytes=16))
    [failure] = verify(dataset)
    assert failure.rule.startswith("it has the columns of the data format")


def test_shard_of_a_hostile_program_is_reported(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow raises an error that is no ValueError, e.g. for a column of 4-bit integers."""

    def refuse(_: Path) -> Rows:
        raise pa.ArrowNotImplementedError("Integers with less than 8 bits not implemented")

    monkeypatch.setattr("preprocessing.inspection.shard_checks.read_shard", refuse)
    assert Failure(SHARD, "it has the columns of the data format") in list(verify(dataset))


def test_columns_of_another_type_are_reported(dataset: Path) -> None:
    replace_shard(dataset, lambda rows: dataclasses.replace(rows, input_ids=rows.input_ids.astype(np.uint32)))
    assert list(verify(dataset)) == [Failure(SHARD, "its columns have the types of the data format")]


def test_changed_count_is_reported(dataset: Path) -> None:
    edit_manifest(dataset, lambda table: table["shards"][1].update(masked_tokens=1))
    assert [failure.file for failure in verify(dataset)] == [SHARD]


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("length_histogram", [0] * 17, "statistics.length_histogram matches the rows"),
        ("length_histogram", [0], "statistics.length_histogram matches the rows"),
        ("random_next_pairs", 999, "statistics.random_next_pairs is the number of rows labelled 1"),
        ("token_counts", [0] * len(PIECES), "statistics.token_counts matches the rows"),
        ("drawn_targets", 400, "the fraction of shorter target lengths is short_seq_prob"),
    ],
)
def test_statistics_of_other_rows_are_reported(dataset: Path, key: str, value: object, rule: str) -> None:
    edit_manifest(dataset, lambda table: table["statistics"].update({key: value}))
    assert list(verify(dataset)) == [Failure("manifest.json", rule)]


def test_another_vocabulary_is_reported(dataset: Path) -> None:
    other = Vocabulary((*PIECES[:-1], "other"), lowercase=True)
    other.write(dataset / "vocab.txt")
    assert list(verify(dataset)) == [Failure("vocab.txt", "its SHA-256 matches the manifest")]
    edit_manifest(dataset, lambda table: table["vocabulary"].update(sha256=other.entry().sha256, size=7))
    assert Failure("vocab.txt", "its size and special tokens match the manifest") in list(verify(dataset))
    edit_manifest(dataset, lambda table: table["vocabulary"].update(size=len(PIECES)))
    shards = [shard.name for shard in read_manifest(dataset).shards]
    assert list(verify(dataset)) == [Failure(name, "its ids belong to the data set's vocabulary") for name in shards]
    (dataset / "vocab.txt").unlink()
    assert Failure("vocab.txt", "the file exists") in list(verify(dataset))


def test_fields_that_differ_from_the_recipe_are_reported(dataset: Path) -> None:
    edit_manifest(dataset, lambda table: table["recipe"].update(max_seq_length=32))
    assert list(verify(dataset)) == [Failure("manifest.json", "max_seq_length matches its recipe")]
    edit_manifest(dataset, lambda table: table["recipe"].update(colour="red"))
    with pytest.raises(UserError, match="not valid in this version"):
        list(verify(dataset))


def test_invalid_list_of_shards_is_reported(dataset: Path) -> None:
    (dataset / "shards" / "stray.arrow").touch()
    edit_manifest(dataset, lambda table: table.update(dupe_factor=3, shards=table["shards"][::-1]))
    assert list(verify(dataset)) == [
        Failure("manifest.json", "shards are listed once, sorted by name"),
        Failure("manifest.json", "pass 2 has rows to train on"),
        Failure("shards/stray.arrow", "every file is listed in the manifest"),
    ]


def test_shard_outside_the_folder_is_refused(dataset: Path) -> None:
    edit_manifest(dataset, lambda table: table["shards"][0].update(name="../elsewhere.arrow"))
    with pytest.raises(UserError, match=r"shards\.0\.name: String should match pattern"):
        list(verify(dataset))


CHINESE = "中文字學大小人天地水火山石田土上下左右東西南北"
REAL_MODES: dict[str, dict[str, Any]] = {
    "balanced": {},
    "reference": {"nsp_mode": "reference"},
    "sop": {"objective": "sop"},
    "none": {"objective": "none"},
    "whole words": {"whole_word_masking": True},
    "word once": {"mask_word_once": True},
    "whole word once": {"whole_word_masking": True, "mask_word_once": True},
    "cased": {"vocabulary": {"size": 150, "lowercase": False}},
    "chinese": {"language": "zh", "vocabulary": {"size": 150}},
    "plain": {"provenance": False, "short_seq_prob": 0.5, "mask_token_prob": 1.0, "random_token_prob": 0.0},
}


@pytest.mark.parametrize("mode", REAL_MODES)
def test_data_sets_of_every_mode_pass(tmp_path: Path, mode: str) -> None:
    texts = make_documents(300)
    if mode == "chinese":
        names = dict(zip(WORDS, itertools.product(CHINESE, repeat=2), strict=False))
        texts = [re.sub(r"\w+", lambda word: "".join(names.get(word[0].lower(), word[0])), text) for text in texts]
        texts = [text.replace(" ", "").replace(".", "。") for text in texts]
    corpus = write_text(tmp_path / "corpus.txt", texts)
    manifest = prepare(small_config(tmp_path / "dataset", corpus, **{"provenance": True, **REAL_MODES[mode]}))
    assert sum(shard.rows for shard in manifest.shards) > 600
    assert list(verify(tmp_path / "dataset")) == []


def test_missing_manifest_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a data set"):
        list(verify(tmp_path))
