from __future__ import annotations

from dataclasses import replace

import numpy as np
from rich.text import Text

from configs.schema import Objective
from launch.display.inspection import STYLES, pair_text
from preprocessing.dataset.shard import Provenance, Rows
from preprocessing.inspection.decoding import decode_row
from preprocessing.vocabulary.vocabulary import Vocabulary

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", "[", "dog")
VOCABULARY = Vocabulary(PIECES, lowercase=True)


def pair(words: str, masked: dict[int, str], segment_a: int, label: int) -> Rows:
    ids = [PIECES.index(word) for word in words.split()]
    return Rows(
        input_ids=np.array(ids, np.uint16),
        input_offsets=np.array([0, len(ids)], np.int32),
        segment_a_length=np.array([segment_a], np.uint16),
        masked_lm_positions=np.array(list(masked), np.uint16),
        masked_lm_ids=np.array([PIECES.index(word) for word in masked.values()], np.uint16),
        masked_offsets=np.array([0, len(masked)], np.int32),
        next_sentence_label=np.array([label], np.uint8),
    )


def decoded(rows: Rows, objective: Objective) -> Text:
    return pair_text(decode_row(rows, 0, VOCABULARY, objective), objective)


def test_a_pair_is_two_lines_with_its_masks_marked() -> None:
    rows = pair(
        "[CLS] the cat ##s sat [SEP] [MASK] ##s [ dog the [SEP]", {2: "cat", 6: "cat", 9: "sat", 10: "the"}, 6, 1
    )
    text = decoded(rows, "nsp")
    assert text.plain.splitlines() == [
        "12 tokens, 4 masked, next_sentence_label 1: B comes from another document",
        "  A  [CLS] the [cat←cat] ##s sat [SEP]",
        "  B  [[MASK]←cat] ##s [ [dog←sat] [the←the] [SEP]",
    ]
    styled = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styled["[[MASK]←cat]"] == STYLES["masked"]
    assert styled["[cat←cat]"] == STYLES["kept"]
    assert styled["[dog←sat]"] == STYLES["replaced"]


def test_unmasked_word_pieces_are_joined() -> None:
    text = decoded(pair("[CLS] the cat ##s [SEP] sat [SEP]", {1: "the"}, 5, 0), "nsp")
    assert text.plain.splitlines()[0].endswith("next_sentence_label 0: B follows A")
    assert text.plain.splitlines()[1] == "  A  [CLS] [the←the] cats [SEP]"


def test_labels_are_those_of_the_objective() -> None:
    rows = pair("[CLS] the cat [SEP] sat [SEP]", {1: "the"}, 4, 1)
    assert decoded(rows, "sop").plain.splitlines()[0].endswith("A and B are swapped")
    alone = decoded(pair("[CLS] the cat sat [SEP]", {1: "the"}, 5, 0), "none")
    assert alone.plain.splitlines() == ["5 tokens, 1 masked", "   [CLS] [the←the] cat sat [SEP]"]


def test_provenance_is_shown() -> None:
    origin = Provenance(
        np.array([255], np.uint64), np.array([3], np.uint32), np.array([2], np.uint16),
        np.array([16], np.uint64), np.array([0], np.uint32), np.array([1], np.uint16),
    )  # fmt: skip
    rows = replace(pair("[CLS] the cat [SEP] sat [SEP]", {1: "the"}, 4, 1), provenance=origin)
    assert decoded(rows, "nsp").plain.splitlines()[1:3] == [
        "  A is from document 00000000000000ff, sentences 3 to 4",
        "  B is from document 0000000000000010, sentences 0 to 0",
    ]
