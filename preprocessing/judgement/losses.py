"""The judgement of a preparation, before its manifest is written: how much of the input was lost or mangled.

What the recipe wishes (redirects, filters, duplicates) is no loss. From `WARN` on, a loss is a warning that names the
likely cause and the fix; from `REFUSE` on, it ends the preparation, unless the recipe has data.accept_losses.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset import FileCounts, InputEntry, Manifest
from preprocessing.documents import guess_file_encoding
from preprocessing.judgement.causes import WISHED, WITHOUT_TEXT, explain
from preprocessing.vocabulary import (
    MAX_WORD_CHARS,
    Vocabulary,
    casing_that_reaches,
    lacks_capitals,
    unreachable_share,
)

WARN = 0.05
REFUSE = 0.5
_ACCEPT = "or keep what there is with data.accept_losses=true"
_REPLACED = "invalid_utf8_replaced"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A share of the input that was lost or mangled."""

    share: float
    cause: str  # with the share
    place: str
    fix: str


def judge(manifest: Manifest, paths: Sequence[str], config: DataConfig, vocabulary: Vocabulary) -> None:
    """Warn of losses in a data set, and raise `UserError` for the largest one if most of the input is lost.

    `paths` are those of the input files, in the order of the manifest.
    """
    _warn_of_empty_input(manifest, paths, config)
    findings = sorted(_findings(manifest, paths, config, vocabulary), key=lambda finding: -finding.share)
    if findings and findings[0].share >= REFUSE and not config.accept_losses:
        _refuse(findings[0])
    for finding in findings:
        if finding.share >= WARN:
            logger.warning("%s: %s; %s", finding.place, finding.cause, finding.fix)


def _warn_of_empty_input(manifest: Manifest, paths: Sequence[str], config: DataConfig) -> None:
    """Warn of a corpus that adds nothing, and of files without a document: a download that failed looks like this."""
    files = list(zip(manifest.inputs, paths, strict=True))
    empty = [path for entry, path in files if not entry.counts.documents]
    if empty:
        what = f"{len(empty):,} of {len(files):,} input files hold no document"
        logger.warning("%s: %s; fetch what is incomplete again, or remove it from data.corpora paths", empty[0], what)
    for corpus in range(len(config.corpora)):
        own = [(entry.counts, path) for entry, path in files if entry.corpus == corpus]
        if any(counts.documents for counts, _ in own) and not any(counts.kept for counts, _ in own):
            dropped = sum((counts for counts, _ in own), FileCounts()).dropped
            causes = ", ".join(f"{lost.documents:,} {cause}" for cause, lost in dropped.items())
            cause = f"this corpus adds nothing to the data set (dropped: {causes})"
            logger.warning("%s: %s; remove it from data.corpora, or change what drops its documents", own[0][1], cause)


def _refuse(finding: Finding) -> NoReturn:
    raise UserError(finding.cause, place=finding.place, fix=f"{finding.fix}, {_ACCEPT}")


def _findings(
    manifest: Manifest, paths: Sequence[str], config: DataConfig, vocabulary: Vocabulary
) -> Iterator[Finding]:
    for corpus in range(len(config.corpora)):
        files = [(entry, path) for entry, path in zip(manifest.inputs, paths, strict=True) if entry.corpus == corpus]
        yield from _dropped(files, has_fields="text_field" not in config.corpora[corpus].idle_keys())
        yield from _replaced(files)
    for whose, characters in _characters(manifest):
        yield from _unknown(whose, *characters, config, vocabulary)
    yield from _in_no_row(manifest, config)


def _dropped(files: Sequence[tuple[InputEntry, str]], *, has_fields: bool) -> Iterator[Finding]:
    """Judge the documents of a corpus that were dropped although the recipe does not wish it, by number and bytes."""
    total = sum((entry.counts for entry, _ in files), FileCounts())
    losses = {cause: lost for cause, lost in total.dropped.items() if cause not in WISHED}
    if not losses:
        return
    documents = total.documents - sum(lost.documents for cause, lost in total.dropped.items() if cause in WISHED)
    no_text = sum(lost.bytes for cause, lost in total.dropped.items() if cause in WISHED | WITHOUT_TEXT)
    size = total.read_bytes - no_text
    lost_documents = sum(lost.documents for lost in losses.values())
    lost_bytes = sum(lost.bytes for cause, lost in losses.items() if cause not in WITHOUT_TEXT)
    share = max(lost_documents / documents, lost_bytes / max(1, size))
    cause = max(losses, key=lambda cause: losses[cause].documents)
    place = max(files, key=lambda file: _lost_to(file[0], cause))[1]
    meaning, fix = explain(cause, has_fields=has_fields)
    what = f"{lost_documents:,} of {documents:,} documents ({lost_bytes / 1e6:,.1f} MB) are dropped, most for {meaning}"
    yield Finding(share, f"{_pct(share)} of the corpus is lost: {what}", place, fix)


def _lost_to(entry: InputEntry, cause: str) -> int:
    return entry.counts.dropped[cause].documents if cause in entry.counts.dropped else 0


def _replaced(files: Sequence[tuple[InputEntry, str]]) -> Iterator[Finding]:
    """Judge the documents of a corpus that hold bytes which are not UTF-8."""
    kept = sum(entry.counts.kept for entry, _ in files)
    replaced = sum(entry.counts.repaired.get(_REPLACED, 0) for entry, _ in files)
    if not replaced:
        return
    place = max(files, key=lambda file: file[0].counts.repaired.get(_REPLACED, 0))[1]
    what = "bytes that are not UTF-8, or JSON escapes that are no characters"
    cause = f"{_pct(replaced / kept)} of the documents hold {what}, replaced by U+FFFD"
    fix = "set the corpus's encoding to that of its files"
    if replaced >= WARN * kept and (guess := guess_file_encoding(place)):
        cause, fix = f"{cause}; the file is probably {guess}", f'set encoding = "{guess}" for this corpus'
    yield Finding(replaced / kept, cause, place, fix)


def _characters(manifest: Manifest) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield the numbers of characters, of unknown ones, and of those in words that are too long, of each corpus.

    If an earlier build made some of the groups, they are known of all corpora together only.
    """
    whole = manifest.statistics
    counted = [
        (f"the characters of data.corpora.{one.corpus}", (one.chars, one.unknown_chars, one.overlong_chars))
        for one in manifest.corpora
        if one.chars is not None and one.unknown_chars is not None and one.overlong_chars is not None
    ]
    if len(counted) == len(manifest.corpora) > 1:
        yield from counted
    else:
        yield "the text's characters", (whole.chars, whole.unknown_chars, whole.overlong_chars)


def _unknown(
    whose: str, chars: int, unknown: int, too_long: int, config: DataConfig, vocabulary: Vocabulary
) -> Iterator[Finding]:
    """Judge the characters in words that the vocabulary does not cover."""
    share = unknown / max(1, chars)
    if share < WARN:
        return  # the search for a better casing takes as long as the preparation of megabytes
    cause = f"{_pct(share)} of {whose} become [UNK]"
    place = config.vocabulary.file or "data.vocabulary"
    casing = casing_that_reaches(vocabulary)
    if 2 * too_long >= unknown:
        cause += f", most in words of more than {MAX_WORD_CHARS} characters"
        fix = "separate the words by blanks, with a word segmenter of the language"
    elif unreachable_share(vocabulary) >= WARN and casing:
        cause += ": the vocabulary's pieces are not what the normaliser leaves of them"
        fix = f"set {casing} in data.vocabulary"
    elif not vocabulary.source and share < REFUSE and not vocabulary.lowercase and lacks_capitals(vocabulary):
        cause += ": the vocabulary has no capital letters"
        fix = "set lowercase=true in data.vocabulary"
    else:
        fix = "use a vocabulary of the text's language, or train one: remove data.vocabulary.file"
    yield Finding(share, cause, place, fix)


def _in_no_row(manifest: Manifest, config: DataConfig) -> Iterator[Finding]:
    """Judge the word pieces of the training split that stand in no row of any pass."""
    pieces = max((losses.pieces for losses in manifest.losses if losses.split == "train"), default=0)
    lost = manifest.in_no_row
    if not pieces:
        return
    share = (lost.cut + lost.no_pair) / pieces
    cause = f"{_pct(share)} of the word pieces stand in no row of any pass"
    fix = "raise data.max_seq_length"
    if lost.no_pair > lost.cut:
        cause += ", most because their documents make no pair"
        fix = 'join sentences into longer documents, or set data.objective="none"'
    elif config.nsp_mode == "reference":
        fix = 'set data.nsp_mode="balanced"'
    yield Finding(share, cause, config.dataset, fix)


def _pct(share: float) -> str:
    return f"{share:.1%}"
