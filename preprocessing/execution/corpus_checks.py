"""Refuse a corpus that cannot give a data set; warn about a corpus that gives a poor one."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from configs.errors import UserError
from configs.schema import Objective, ReadingConfig, TextConfig
from preprocessing.dataset import Manifest
from preprocessing.documents import FORMATS

_MOST_FORCED = 0.01  # of the rows

logger = logging.getLogger(__name__)


def refuse_few_documents(documents: int, drops: Mapping[str, int], config: ReadingConfig, objective: Objective) -> None:
    """Raise `UserError` unless the training split holds a document.

    `nsp` needs two documents, because a random B comes from another document than A.
    """
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
    raise UserError(cause, place=place, fix=f"add documents, or separate the existing ones{by}")


def check_manifest(manifest: Manifest, text: TextConfig, nsp_mode: str, place: str) -> None:
    """Raise `UserError` if there are no rows to train on; warn about one-sentence documents and an empty split."""
    statistics = manifest.statistics
    refuse_few_documents(statistics.documents - statistics.held_out_documents, manifest.drops, text, manifest.objective)
    without_partner = manifest.drops.get("no_other_document", 0)
    if manifest.objective == "nsp" and without_partner == statistics.documents:
        cause = f"no next-sentence pair can have a random B: {without_partner} of {statistics.documents} documents have"
        fix = "add different documents, or raise data.group_bytes"
        raise UserError(f"{cause} no other document in their group", place=place, fix=fix)
    if not manifest.select("train", 0):
        fix = "add longer documents"
        raise UserError("the corpus gives no pairs to train on", place=place, fix=fix)
    if manifest.objective == "nsp" and statistics.sentences < 2 * statistics.documents:
        logger.warning(
            "the documents hold %.1f sentences on average, and a document with a single sentence %s; join related "
            'sentences into documents, or set data.objective="none"',
            statistics.sentences / statistics.documents,
            "gives no pair" if nsp_mode == "balanced" else "always has a random next segment",
        )
    if text.held_out_fraction > 0 and not manifest.select("held_out", 0):
        logger.warning(
            "the held-out split is empty: none of %d documents belong to it; raise data.held_out_fraction (%g)",
            statistics.documents,
            text.held_out_fraction,
        )
    if manifest.objective == "nsp":
        _warn_of_one_label(manifest)


def _warn_of_one_label(manifest: Manifest) -> None:
    """Warn of rows that no coin labelled: in a group with one document, or with one that has most of the rows."""
    held_out = manifest.select("held_out", 0)
    corpora = {shard.corpus for shard in held_out}
    for corpus in sorted(corpora, key=lambda corpus: corpus or 0):
        own = [shard for shard in held_out if shard.corpus == corpus]
        rows, forced = (sum(getattr(shard, name) for shard in own) for name in ("rows", "forced"))
        if rows and forced == rows:
            logger.warning(
                "all %d held-out rows%s have the same label, because each group holds a single held-out document: the "
                "next-sentence loss of an evaluation says nothing; raise data.held_out_fraction or data.group_bytes",
                rows,
                f" of data.corpora.{corpus}" if len(manifest.corpora) > 1 and corpus is not None else "",
            )
    following = manifest.statistics.forced_following_pairs
    if following > _MOST_FORCED * sum(manifest.statistics.length_histogram):
        logger.warning(
            "%d of %d rows are labelled 0 without a coin, because one document has most of the rows of its group: "
            "raise data.group_bytes, or split the longest documents",
            following,
            sum(manifest.statistics.length_histogram),
        )
