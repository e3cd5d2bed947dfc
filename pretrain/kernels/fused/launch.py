"""Launch geometry of the kernels. It depends on device and shapes only, so that sums are repeatable."""

# mypy: disable-error-code="import-untyped, import-not-found"
# Triton ships no types.

from __future__ import annotations

import torch
import triton

ELEMENTS_PER_THREAD = 16  # many, for few warps per row: most instructions of a reduction are executed once per warp
MAX_WARPS = 16
ROW_LOOP_REGISTERS = 168  # per thread of a kernel that loops over rows and keeps column sums in registers
REGISTERS_PER_SM = 65_536
INTERPRETED_PROGRAMS = 3  # few, so that tests in the interpreter also cover programs with several units of work


def block_of(width: int) -> tuple[int, int]:
    """Return the size of a block that holds a row of `width`, and its number of warps."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // (32 * ELEMENTS_PER_THREAD), 1), MAX_WARPS)


def row_loop_registers(warps: int) -> int:
    """Return the registers per thread of a kernel that loops over rows; a very wide row has more threads with fewer."""
    return min(ROW_LOOP_REGISTERS, REGISTERS_PER_SM // (32 * warps))


def row_loop_programs(device: torch.device, work_units: int, warps: int, registers: int, column_blocks: int = 1) -> int:
    """Return the number of programs, per column block, that share `work_units`: the number that fits on the device.

    Each program sums its own share, and the partial sums are added in order. The number of programs affects the
    rounding, so it depends on the device and the shapes only.
    """
    if device.type != "cuda":
        return min(work_units, INTERPRETED_PROGRAMS)
    resident = REGISTERS_PER_SM // (32 * warps * registers)
    resident *= torch.cuda.get_device_properties(device).multi_processor_count
    return min(work_units, max(resident // column_blocks, 1))
