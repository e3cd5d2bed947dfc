"""What a preparation costs, from measurements: time on a core, and the size of the shards."""

from __future__ import annotations

_PASS_MB_S = 85.0  # MB of text per second for the pairs and masks of one pass
_NEAR_MB_S = 6.0  # MB of text per second for the fingerprints of near duplicates, in documents of some pages
_TRAINING_MB_S = 5.0  # MB of text per second for sampling, counting words and merging pieces
_SHARD_BYTES = 0.69  # bytes of shards per byte of text and pass


def core_seconds(text_mb: float, passes: int, text_mb_s: float) -> float:
    """Return the time of one core. `text_mb_s`: speed of a core before the passes, in MB/s."""
    return text_mb * (1 / text_mb_s + passes / _PASS_MB_S)


def fingerprint_seconds(text_mb: float) -> float:
    """Return the time of one core for the fingerprints by which near duplicates are found."""
    return text_mb / _NEAR_MB_S


def training_seconds(sample_mb: float) -> float:
    """Return the time for training a vocabulary."""
    return sample_mb / _TRAINING_MB_S


def shard_bytes(text_bytes: float, passes: int) -> float:
    """Return the size of the shards of all passes."""
    return text_bytes * passes * _SHARD_BYTES
