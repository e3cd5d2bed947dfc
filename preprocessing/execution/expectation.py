"""What a preparation is expected to take, said before the work starts: disk space and time."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset import core_seconds, fingerprint_seconds, shard_bytes, training_seconds
from preprocessing.documents import FORMATS, FileSpan, Plan, files_to_unpack
from preprocessing.storage import Store

_CLEANED_BYTES = 0.5  # of the compressed cleaned text, per byte of text
_SIGNATURE_BYTES = 0.3  # of the fingerprints of near duplicates, per byte of text, in documents of 1,700 bytes
_LARGE_ITEM_BYTES = 128_000_000  # of text: ten seconds of work and more
_PARALLEL = {  # how to compress a file so that it can be cut
    ".gz": "compress it with bgzip, which writes many members",
    ".xz": "compress it with xz -T0, which writes many blocks",
    ".zst": "compress it with pzstd, which writes many frames",
}
_START_S, _START_OF_SEVERAL_S = 2.0, 6.0  # of one worker inside this process, and of processes, stage after stage
_UNCERTAINTY = 0.8  # a disk that is smaller than this share of the expected space is refused

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expectation:
    """Disk space in bytes, and time in seconds. Both are estimates from the sizes of the input files."""

    shards: float
    temporary: float
    seconds: float

    @property
    def disk(self) -> float:
        """The largest space that the data set's folder takes."""
        return self.shards + self.temporary

    def __str__(self) -> str:
        time = timedelta(seconds=math.ceil(self.seconds))
        temporary = f" ({_megabytes(self.temporary)} of it until the end)" if self.temporary else ""
        return f"expects about {_megabytes(self.disk)} of disk{temporary} and {time} of work"


def expect(plan: Plan, config: DataConfig, workers: int) -> Expectation:
    """Return what the preparation of the whole plan takes on `workers` processes of this machine."""
    text = seconds = 0.0
    for span in (span for item in plan.items for span in item.spans):
        form = FORMATS[config.corpora[span.corpus].format]
        text += span.weight * form.text_share
        seconds += core_seconds(span.weight * form.text_share / 1e6, config.dupe_factor, form.text_mb_s)
    if config.duplicates == "near":
        seconds += fingerprint_seconds(text / 1e6)
    seconds = seconds / workers + (_START_OF_SEVERAL_S if workers > 1 else _START_S)
    temporary = _cleaned_bytes(plan, text, config)
    temporary += sum(item.spans[0].text_bytes for item in files_to_unpack(plan, config))
    if config.vocabulary.file is None:
        sample = min(text, config.vocabulary.sample_bytes)
        temporary += sample
        seconds += training_seconds(sample / 1e6)
    return Expectation(shard_bytes(text, config.dupe_factor), temporary, seconds)


def _cleaned_bytes(plan: Plan, text: float, config: DataConfig) -> float:
    """Return the size of the files of cleaned text and fingerprints."""
    if not config.compares_documents:
        text = sum(item.weight for item in plan.items if item.part_bytes)
    return text * (_CLEANED_BYTES + _SIGNATURE_BYTES * (config.duplicates == "near"))


def warn_of_large_items(plan: Plan, config: DataConfig) -> None:
    """Warn of files that one worker must read and clean, while the others wait for it, and tell what to do."""
    total = sum(item.weight for item in plan.items)
    unpacked = {item.spans[0].path for item in files_to_unpack(plan, config)}
    packed = [item for item in plan.items if item.part_bytes and unpacked.isdisjoint(span.path for span in item.spans)]
    largest = max(packed or plan.items, key=lambda item: item.weight)
    span = max(largest.spans, key=lambda span: span.weight)
    is_most = largest.weight > max(total / 2, _LARGE_ITEM_BYTES) and span.path not in unpacked
    if packed or is_most:
        more = f" and {len(packed) - 1} more files" if len(packed) > 1 else ""
        cause = f"one worker reads and cleans {span.path} ({span.weight / total:.0%} of the input){more}"
        logger.warning("%s, which cannot be cut; to use more workers, %s", cause, _advice(span, config))


def _advice(span: FileSpan, config: DataConfig) -> str:
    corpus = config.corpora[span.corpus]
    if not corpus.is_utf8:
        return "convert it to UTF-8"
    if not FORMATS[corpus.format].is_splittable:
        return f"divide it into several files: {corpus.format} is read from its beginning"
    suffix = PurePosixPath(span.path).suffix.lower()
    return f"{_PARALLEL.get(suffix, 'divide it into several files')}, or set data.unpack=true"


def refuse_small_disk(expected: Expectation, store: Store) -> None:
    """Raise `UserError` if the disk of the data set's folder is much too small; warn if it may be too small."""
    room = store.room_bytes()
    if room is None or room >= expected.disk:
        return
    cause = f"the disk has room for {_megabytes(room)}, and the preparation {expected}"
    fix = "free space, set data.dataset to a folder on a larger disk, or lower data.dupe_factor"
    if room < expected.disk * _UNCERTAINTY:
        raise UserError(cause, place=store.place, fix=fix)
    logger.warning("%s: %s; %s", store.place, cause, fix)


def _megabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
