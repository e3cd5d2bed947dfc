"""Numbers on their way from the device to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A small tensor's values as they are now, for later: `values` waits for them, not for what is queued after them.

    `tensor.item()` and `tolist()` would wait until the GPU has done all that it was told to do by then.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values = torch.empty_like(tensor, device="cpu", requires_grad=False, pin_memory=tensor.is_cuda)
        self._values.copy_(tensor.detach(), non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types
            self._copied.record()

    def values(self) -> list[float]:
        """The tensor's elements."""
        if self._copied is not None:
            self._copied.synchronize()
        return [float(value) for value in self._values.view(-1).tolist()]
