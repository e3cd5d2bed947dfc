"""Sizes of DeepSpeed's buffers, in elements. Imports no torch: the cost model uses them on a login node."""

from __future__ import annotations

BUCKET_ELEMENTS = 50_000_000  # maximum size of a reduction buffer; DeepSpeed's default is 500 million for any model
KEPT_PARAMETERS = 1_000_000_000  # maximum gathered at stage 3 and kept until their backward
PREFETCHED_PARAMETERS = 50_000_000  # maximum gathered ahead in one buffer at stage 3, then copied out
