"""How many logits the masked-LM head holds at once. Imports no torch: the cost model reads it on a login node."""

from __future__ import annotations

LOGITS_BYTES = 1 << 28  # of a chunk: large enough for full-speed products, small beside the encoder's activations
