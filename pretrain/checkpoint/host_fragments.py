"""A copy of a rank's fragments on the host, which a thread can write while training changes the originals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain.engine import KINDS, Fragment


class HostFragments:
    """Copies fragments into host memory that is allocated once; for a GPU, it is pinned, so that copies are fast."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}  # one flat fp32 tensor of each kind

    def take(self, fragments: Sequence[Fragment]) -> list[Fragment]:
        """Return copies of the fragments' present values. They are valid until the next call."""
        numel = sum(fragment.numel for fragment in fragments)
        is_on_gpu = any(fragment.master.is_cuda for fragment in fragments)
        for kind in KINDS:
            if kind not in self._buffers or self._buffers[kind].numel() != numel:
                self._buffers[kind] = torch.empty(numel, dtype=torch.float32, pin_memory=is_on_gpu)
        copies, start = [], 0
        for fragment in fragments:
            parts = {kind: self._buffers[kind].narrow(0, start, fragment.numel) for kind in KINDS}
            for kind, part in parts.items():
                part.copy_(getattr(fragment, kind), non_blocking=is_on_gpu)
            copies.append(Fragment(fragment.name, fragment.offset, **parts))
            start += fragment.numel
        if is_on_gpu:
            torch.cuda.current_stream().synchronize()
        return copies
