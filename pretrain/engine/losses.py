"""Sum losses and correct predictions over micro-batches and ranks, and divide once by the global counts."""

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
    """Means over all ranks' masked tokens (mlm) and rows (nsp; also used for sop; None without either)."""

    mlm_loss: float
    nsp_loss: float | None
    mlm_accuracy: float
    nsp_accuracy: float | None

    @property
    def loss(self) -> float:
        """The training loss."""
        return self.mlm_loss + (self.nsp_loss or 0.0)


class LossSums:
    """Adds the model's four outputs on the device. The host waits once for the result, in `over_all_ranks`."""

    def __init__(self, device: torch.device, objective: Objective) -> None:
        self.has_nsp = objective != "none"
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._outputs: list[Tensor] = []  # of each micro-batch
        self._reading: HostCopy | None = None

    def add(self, outputs: Sequence[Tensor]) -> None:
        """Add the `outputs` of one micro-batch: mlm_loss_sum, nsp_loss_sum, mlm_correct, nsp_correct."""
        self._outputs.append(torch.stack([output.detach().double() for output in outputs]))
        self.sums += self._outputs[-1]

    def send(self) -> None:
        """Start adding the sums over all ranks and copying them to the host. Every rank calls it, after all `add`s."""
        if self._reading is None:
            torch.distributed.all_reduce(self.sums)
            self._reading = HostCopy(self.sums)

    def over_all_ranks(self, masked_tokens: int, rows: int) -> LossMeans:
        """Return the means over these global counts. Every rank must call this or `send`."""
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
        """Return the numbers of this rank's micro-batches whose loss is not finite."""
        finite = torch.stack(self._outputs).isfinite().all(dim=1)
        return [number for number, is_finite in enumerate(finite.tolist()) if not is_finite]
