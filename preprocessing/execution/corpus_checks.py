"""Refuse a corpus that no data set can be made of; warn of one that makes a poor data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from configs.errors import UserError
from configs.schema import Objective, ReadingConfig, TextConfig
from preprocessing.dataset import Manifest
from preprocessing.documents import FORMATS

logger = logging.getLogger(__name__)


def refuse_few_documents(documents: int, drops: Mapping[str, int], config: ReadingConfig, objective: Objective) -> None:
    """Raise `UserError` unless the training split holds a document; for `nsp` two, each to be the other's random B."""
    if documents >= (2 if objective == "nsp" else 1):
        return
    place = ", ".join(path for corpus in config.corpora for path in corpus.paths)
    counts = ", ".join(f"{count} {cause}" for cause, count in sorted(drops.items()))
    suffix = f" (dropped: {counts})" if counts else ""
    if documents == 0:
        fix = "check data.corpora (paths, format, text_field), or lower min_document_chars or held_out_fraction"
        raise UserError(f"the corpus holds no document to train on{suffix}", place=place, fix=fix)
    cause = f"the corpus holds a single document to train on{suffix}, and next-sentence pairs take B from another one"
    separators = sorted({FORMATS[corpus.format].separator for corpus in config.corpora} - {""})
    by = f" by {' or '.join(separators)}" if separators else ""
    raise UserError(cause, place=place, fix=f"add documents, or separate those that are there{by}")


def check_manifest(manifest: Manifest, text: TextConfig, nsp_mode: str, place: str) -> None:
    """Raise `UserError` when there is nothing to train on; warn of documents of one sentence and an empty split."""
    statistics = manifest.statistics
    refuse_few_documents(statistics.documents - statistics.held_out_documents, manifest.drops, text, manifest.objective)
    lonely = manifest.drops.get("no_other_document", 0)
    if manifest.objective == "nsp" and lonely == statistics.documents:
        cause = f"no next-sentence pair with a random B can be made: of {statistics.documents} documents {lonely} have"
        fix = "add documents that differ, or raise data.group_bytes"
        raise UserError(f"{cause} no other beside them in their group", place=place, fix=fix)
    if not manifest.select("train", 0):
        fix = "add longer documents"
        raise UserError("the corpus gives no pair to train on", place=place, fix=fix)
    if manifest.objective == "nsp" and statistics.sentences < 2 * statistics.documents:
        logger.warning(
            "the documents hold %.1f sentences on average: one of a single sentence %s; join what belongs together "
            'into documents, or set data.objective="none"',
            statistics.sentences / statistics.documents,
            "makes no pair" if nsp_mode == "balanced" else "has always a random next segment",
        )
    if text.held_out_fraction > 0 and not manifest.select("held_out", 0):
        logger.warning(
            "the held-out split is empty: none of %d documents fell into it; raise data.held_out_fraction (%g)",
            statistics.documents,
            text.held_out_fraction,
        )
