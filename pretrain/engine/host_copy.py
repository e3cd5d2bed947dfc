"""Asynchronous copies of numbers from the device to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a small tensor's present values. `values` waits for the copy only, not for work queued after it.

    In contrast, `tensor.item()` and `tolist()` wait for all work that is queued on the GPU when they are called.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values = torch.empty_like(tensor, device="cpu", requires_grad=False, pin_memory=tensor.is_cuda)
        self._values.copy_(tensor.detach(), non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types
            self._copied.record()

    def values(self) -> list[float]:
        """Return the tensor's elements."""
        if self._copied is not None:
            self._copied.synchronize()
        return [float(value) for value in self._values.view(-1).tolist()]
