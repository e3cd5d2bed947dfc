"""Count collectives as they are called, both DeepSpeed's and ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils._python_dispatch import TorchDispatchMode

# torch's operators: the kind, and the index of the argument with the full tensor (reduced, scattered or gathered).
KINDS = {
    "allreduce_": ("all_reduce", 0),
    "allreduce_coalesced_": ("all_reduce", 0),
    "reduce_": ("reduce", 0),
    "broadcast_": ("broadcast", 0),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "reduce_scatter_": ("reduce_scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 1),
    "_allgather_base_": ("all_gather", 0),
    "allgather_": ("all_gather", 0),
    "allgather_coalesced_": ("all_gather", 0),
    "allgather_into_tensor_coalesced_": ("all_gather", 0),
}
# What one of R ranks sends with ring algorithms, in units of the full tensor times (R - 1) / R.
SENT = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1, "reduce": 1, "broadcast": 1}


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Counts this rank's `calls` and the `bytes` of their full tensors, by kind, inside its `with` block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.bytes: defaultdict[str, int] = defaultdict(int)
        self.units: defaultdict[int, int] = defaultdict(int)  # bytes in units of `SENT`, by the number of ranks

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d" and (name := function._schema.name.removeprefix("c10d::")) != "barrier":
            kind, whole = KINDS[name]  # a KeyError means an unknown collective
            self.calls[kind] += 1
            size = sum(tensor.nbytes for tensor in _tensors(args[whole]))
            self.bytes[kind] += size
            (group,) = (argument for argument in args if _is_group(argument))
            self.units[ProcessGroup.unbox(group).size()] += SENT[kind] * size
        return function(*args, **kwargs or {})

    def sent_bytes(self, ranks: int) -> float:
        """Return the bytes that a rank sends in collectives of this number of ranks, with ring algorithms."""
        return self.units[ranks] * (ranks - 1) / ranks


def _is_group(argument: object) -> bool:
    return isinstance(argument, torch.ScriptObject) and "ProcessGroup" in str(argument._type())


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    else:
        for one in nested:
            yield from _tensors(one)
