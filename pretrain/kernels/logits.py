"""How many logits and attention scores are held at once. Imports no torch: the cost model reads it on a login node."""

from __future__ import annotations

LOGITS_BYTES = 1 << 28  # of a chunk: large enough for full-speed products, small beside the encoder's activations
SMALLEST_BLOCK = 16  # tokens of a block of local attention: a narrower window would make the products too small


def block_size(reach: int) -> int:
    """Return the tokens of a block of local attention; `reach` is half of the window."""
    return max(reach, SMALLEST_BLOCK)


def scored_keys(reach: int) -> int:
    """Return the keys that each query of a block is compared with."""
    return block_size(reach) + 2 * reach
