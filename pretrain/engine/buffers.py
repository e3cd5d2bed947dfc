"""Sizes of DeepSpeed's buffers, in elements. Imports no torch: the cost model reads them on a login node."""

from __future__ import annotations

BUCKET_ELEMENTS = 50_000_000  # of a reduction's buffer, at most; DeepSpeed would take 500 million for any model
KEPT_PARAMETERS = 1_000_000_000  # gathered at stage 3 and kept until their backward, at most
PREFETCHED_PARAMETERS = 50_000_000  # gathered ahead in one buffer at stage 3, then copied out, at most
