"""Sums of losses and hits over micro-batches and ranks: means are taken once, over the global counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from configs.schema import Objective
from pretrain.engine.host_copy import HostCopy


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
    """Adds up the model's four outputs on the device; the host waits once, in `over_all_ranks`, for what was sent."""

    def __init__(self, device: torch.device, objective: Objective) -> None:
        self.has_nsp = objective != "none"
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._outputs: list[Tensor] = []  # of each micro-batch
        self._reading: HostCopy | None = None

    def add(self, outputs: Sequence[Tensor]) -> None:
        """`outputs`: mlm_loss_sum, nsp_loss_sum, mlm_correct, nsp_correct of one micro-batch."""
        self._outputs.append(torch.stack([output.detach().double() for output in outputs]))
        self.sums += self._outputs[-1]

    def send(self) -> None:
        """Have the sums added over all ranks and read, without waiting. Every rank calls it, after all `add`s."""
        if self._reading is None:
            torch.distributed.all_reduce(self.sums)
            self._reading = HostCopy(self.sums)

    def over_all_ranks(self, masked_tokens: int, rows: int) -> LossMeans:
        """The means over these global counts. Every rank calls it, or `send` before."""
        self.send()
        assert self._reading is not None
        mlm_loss, nsp_loss, mlm_correct, nsp_correct = self._reading.values()
        masked_tokens = max(1, masked_tokens)
        return LossMeans(
            mlm_loss=mlm_loss / masked_tokens,
            nsp_loss=nsp_loss / rows if self.has_nsp else None,
            mlm_accuracy=mlm_correct / masked_tokens,
            nsp_accuracy=nsp_correct / rows if self.has_nsp else None,
        )

    def not_finite(self) -> list[int]:
        """This rank's micro-batches, by number, whose loss is not finite."""
        finite = torch.stack(self._outputs).isfinite().all(dim=1)
        return [number for number, is_finite in enumerate(finite.tolist()) if not is_finite]
