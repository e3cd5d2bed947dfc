"""How kernels are laid over a device: by shapes alone, so that sums are repeatable."""

# mypy: disable-error-code="import-untyped, import-not-found"
# Triton ships no types.

from __future__ import annotations

import torch
import triton

ELEMENTS_PER_THREAD = 16  # fewer warps a row: most of a reduction's instructions are spent once a warp
WALK_REGISTERS = 168  # of a kernel that walks over rows and keeps column sums …
PROGRAMS_PER_SM = 6  # … and so many of its programs then fit side by side
PROGRAMS_INTERPRETED = 3  # so that the interpreter too sees programs that take several turns, and none


def block_of(width: int) -> tuple[int, int]:
    """A block that holds a row of `width`, and the number of warps for it."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // (32 * ELEMENTS_PER_THREAD), 1), 16)


def walking_programs(device: torch.device, turns: int, beside: int = 1) -> int:
    """Programs that share `turns` units of work, where `beside` such columns of programs run side by side.

    Each sums its own share, and the partial sums are added in their order. Their number shows in the rounding, so it
    depends on nothing but the device and the shapes.
    """
    if device.type != "cuda":
        return min(turns, PROGRAMS_INTERPRETED)
    resident = PROGRAMS_PER_SM * torch.cuda.get_device_properties(device).multi_processor_count
    return min(turns, max(resident // beside, 1))
