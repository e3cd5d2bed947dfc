"""Sums of losses and hits over micro-batches and ranks: means are taken once, over the global counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from configs.schema import Objective


@dataclass(frozen=True)
class LossMeans:
    """Means over all ranks' masked tokens (mlm) and rows (nsp, which stands for sop too; None without either)."""

    mlm_loss: float
    nsp_loss: float | None
    mlm_accuracy: float
    nsp_accuracy: float | None

    @property
    def loss(self) -> float:
        """What is trained on."""
        return self.mlm_loss + (self.nsp_loss or 0.0)


class LossSums:
    """Adds up the model's four outputs on the device; the host waits once, in `over_all_ranks`."""

    def __init__(self, device: torch.device, objective: Objective) -> None:
        self.has_nsp = objective != "none"
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, outputs: Sequence[Tensor]) -> None:
        """`outputs`: mlm_loss_sum, nsp_loss_sum, mlm_correct, nsp_correct of one micro-batch."""
        self.sums += torch.stack([output.detach().double() for output in outputs])

    def over_all_ranks(self, masked_tokens: int, rows: int) -> LossMeans:
        """The means over these global counts. Every rank calls it."""
        torch.distributed.all_reduce(self.sums)
        mlm_loss, nsp_loss, mlm_correct, nsp_correct = self.sums.tolist()
        masked_tokens = max(1, masked_tokens)
        return LossMeans(
            mlm_loss=mlm_loss / masked_tokens,
            nsp_loss=nsp_loss / rows if self.has_nsp else None,
            mlm_accuracy=mlm_correct / masked_tokens,
            nsp_accuracy=nsp_correct / rows if self.has_nsp else None,
        )
