"""Rules about the provenance columns of every row, like those of `row_rules`, for data sets that have them."""

from __future__ import annotations

from preprocessing.dataset import Manifest, Provenance, Rows
from preprocessing.inspection.row_rules import Bools, Rule, rule


@rule("b_document")
def label_0_means_b_begins_where_a_ends(rows: Rows, manifest: Manifest) -> Bools:
    """With label 0, B begins where A ends, in the same document. Under `none`, there is no B."""
    origin = _provenance(rows)
    wrong_r = origin.b_document != origin.a_document
    if manifest.objective == "none":
        wrong_r |= origin.b_sentences != 0
    else:
        wrong_r |= origin.b_first_sentence != origin.a_first_sentence + origin.a_sentences
    broken_r: Bools = wrong_r & (rows.next_sentence_label == 0)
    return broken_r


@rule("b_document")
def label_1_means_b_is_from_another_document_or_precedes_a(rows: Rows, manifest: Manifest) -> Bools:
    """With label 1, B comes from another document. Under `sop`, it precedes A in the same document."""
    origin = _provenance(rows)
    wrong_r = origin.b_document == origin.a_document
    if manifest.objective == "sop":
        wrong_r = ~wrong_r | (origin.a_first_sentence != origin.b_first_sentence + origin.b_sentences)
    broken_r: Bools = wrong_r & (rows.next_sentence_label == 1)
    return broken_r


@rule("a_sentences")
def segments_have_at_least_one_sentence(rows: Rows, manifest: Manifest) -> Bools:
    """Each existing segment has at least one sentence."""
    origin = _provenance(rows)
    broken_r: Bools = (origin.a_sentences == 0) | ((origin.b_sentences == 0) & (manifest.objective != "none"))
    return broken_r


PROVENANCE_RULES: tuple[Rule, ...] = (
    label_0_means_b_begins_where_a_ends,
    label_1_means_b_is_from_another_document_or_precedes_a,
    segments_have_at_least_one_sentence,
)


def _provenance(rows: Rows) -> Provenance:
    assert rows.provenance is not None, "these rules are for rows with provenance"
    return rows.provenance
