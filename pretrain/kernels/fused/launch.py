"""How kernels are laid over a device: by shapes alone, so that sums are repeatable."""

# mypy: disable-error-code="import-untyped, import-not-found"
# Triton ships no types.

from __future__ import annotations

import torch
import triton

ELEMENTS_PER_THREAD = 16  # fewer warps a row: most of a reduction's instructions are spent once a warp
MOST_WARPS = 16
WALK_REGISTERS = 168  # of a kernel that walks over rows and keeps column sums in its registers
REGISTERS_PER_SM = 65_536
PROGRAMS_INTERPRETED = 3  # so that the interpreter too sees programs that take several turns, and none


def block_of(width: int) -> tuple[int, int]:
    """A block that holds a row of `width`, and the number of warps for it."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // (32 * ELEMENTS_PER_THREAD), 1), MOST_WARPS)


def walking_registers(warps: int) -> int:
    """Registers a thread that a walking kernel may use: fewer for the many threads of a very wide row."""
    return min(WALK_REGISTERS, REGISTERS_PER_SM // (32 * warps))


def walking_programs(device: torch.device, turns: int, warps: int, registers: int, beside: int = 1) -> int:
    """Programs that share `turns` units of work: as many as fit on the device, `beside` columns of them side by side.

    Each sums its own share, and the partial sums are added in their order. Their number shows in the rounding, so it
    depends on nothing but the device and the shapes.
    """
    if device.type != "cuda":
        return min(turns, PROGRAMS_INTERPRETED)
    resident = REGISTERS_PER_SM // (32 * warps * registers)
    resident *= torch.cuda.get_device_properties(device).multi_processor_count
    return min(turns, max(resident // beside, 1))
