"""Rows without loss that make micro-batches of few shapes, so that what depends on shapes is prepared for a few only.

A padded micro-batch has a multiple of `multiple` tokens, and a multiple of an eighth of it of masked positions. Its
filler rows follow all others: dropout masks, which depend on a token's index, and all sums over tokens stay what they
were. Imports no torch: the cost model uses the sizes on a login node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

MASKED_SHARE = 8  # BERT masks 15 % of the tokens: about as many of both are filler

Sizes = TypeVar("Sizes", int, NDArray[np.int64])  # of one micro-batch, or of several


@dataclass(frozen=True)
class Padding:
    """How micro-batches are padded: tokens to a multiple of `multiple`.

    `longest` is the length of the data set's longest row. Filler rows have at most half of it, so that they are shorter
    than some other row of almost every micro-batch: its longest row determines the shape of plain attention.
    """

    multiple: int = 1  # 1: nothing is padded
    longest: int = 2

    @property
    def masked_multiple(self) -> int:
        """The number of masked positions is a multiple of this."""
        return max(1, self.multiple // MASKED_SHARE)

    @property
    def rows(self) -> int:
        """Filler rows of each micro-batch: as many as the most filler tokens need."""
        most = self.multiple - 1 + self.masked_multiple - 1  # tokens other than the first ones of the rows
        return -(-most // max(self.longest // 2 - 1, 1))

    def sizes(self, tokens: Sizes, masked: Sizes) -> tuple[Sizes, Sizes]:
        """Return the numbers of tokens and of masked positions of padded micro-batches.

        There is a filler token for each filler position, beside the first token of each filler row, which is not read.
        """
        all_masked = masked + -masked % self.masked_multiple
        least = tokens + self.rows + (all_masked - masked)
        return least + -least % self.multiple, all_masked
