"""Rules about the provenance columns of every row, like those of `row_rules`, for data sets that have them."""

from __future__ import annotations

from preprocessing.dataset import Manifest, Provenance, Rows
from preprocessing.inspection.row_rules import Bools, Ints, Rule, rule


@rule("b_document")
def label_0_means_b_begins_where_a_ends(rows: Rows, manifest: Manifest) -> Bools:
    """With label 0, B begins where A ends, in the same document, or inside A's last sentence. Under `none`, no B."""
    origin = _provenance(rows)
    wrong_r = origin.b_document != origin.a_document
    if manifest.objective == "none":
        wrong_r |= origin.b_sentences != 0
    else:
        wrong_r |= ~_follows(origin.a_first_sentence + origin.a_sentences, origin.b_first_sentence, manifest)
    broken_r: Bools = wrong_r & (rows.next_sentence_label == 0)
    return broken_r


@rule("b_document")
def label_1_means_b_is_from_another_document_or_precedes_a(rows: Rows, manifest: Manifest) -> Bools:
    """With label 1, B comes from another document. Under `sop`, it precedes A in the same document."""
    origin = _provenance(rows)
    wrong_r = origin.b_document == origin.a_document
    if manifest.objective == "sop":
        follows_r = _follows(origin.b_first_sentence + origin.b_sentences, origin.a_first_sentence, manifest)
        wrong_r = ~wrong_r | ~follows_r
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


def _follows(end_r: Ints, first_r: Ints, manifest: Manifest) -> Bools:
    """Return whether a segment's first sentence follows the end of another one, or is its last, cut in two."""
    follows_r: Bools = end_r == first_r
    if manifest.format_version > 1 and manifest.recipe.get("nsp_mode") != "reference":
        follows_r |= end_r == first_r + 1
    return follows_r


def _provenance(rows: Rows) -> Provenance:
    assert rows.provenance is not None, "these rules are for rows with provenance"
    return rows.provenance
