"""What the provenance columns must say of each row: rules like those of `row_rules`, for data sets that have them."""

from __future__ import annotations

from preprocessing.dataset import Manifest, Provenance, Rows
from preprocessing.inspection.row_rules import Bools, Rule, rule


@rule("b_document")
def label_0_is_b_of_the_same_document_where_a_ends(rows: Rows, manifest: Manifest) -> Bools:
    """Under `none` there is no B."""
    origin = _provenance(rows)
    wrong_r = origin.b_document != origin.a_document
    if manifest.objective == "none":
        wrong_r |= origin.b_sentences != 0
    else:
        wrong_r |= origin.b_first_sentence != origin.a_first_sentence + origin.a_sentences
    broken_r: Bools = wrong_r & (rows.next_sentence_label == 0)
    return broken_r


@rule("b_document")
def label_1_is_b_of_another_document(rows: Rows, manifest: Manifest) -> Bools:
    """Under `sop` it stands before A in the same one."""
    origin = _provenance(rows)
    wrong_r = origin.b_document == origin.a_document
    if manifest.objective == "sop":
        wrong_r = ~wrong_r | (origin.a_first_sentence != origin.b_first_sentence + origin.b_sentences)
    broken_r: Bools = wrong_r & (rows.next_sentence_label == 1)
    return broken_r


@rule("a_sentences")
def segments_are_of_a_sentence_at_least(rows: Rows, manifest: Manifest) -> Bools:
    """Each that there is."""
    origin = _provenance(rows)
    broken_r: Bools = (origin.a_sentences == 0) | ((origin.b_sentences == 0) & (manifest.objective != "none"))
    return broken_r


PROVENANCE_RULES: tuple[Rule, ...] = (
    label_0_is_b_of_the_same_document_where_a_ends,
    label_1_is_b_of_another_document,
    segments_are_of_a_sentence_at_least,
)


def _provenance(rows: Rows) -> Provenance:
    assert rows.provenance is not None, "these rules are for rows that have it"
    return rows.provenance
