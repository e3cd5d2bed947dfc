"""This rank's GPU as NVIDIA's driver sees it: clock, temperature, and Xid errors, through NVML.

NVML (`libnvidia-ml.so.1`) is part of the driver. Where it or one of its functions is missing, e.g. in a container, the
values are None. NVML reads the driver's state and does not wait for the GPU's work.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pretrain.engine import World, gather, pci_address

LIBRARY = "libnvidia-ml.so.1"
READ_EVERY_S = 5.0  # a step can be shorter, and temperatures change slowly
LAST_WAIT_MS = 1_000  # for the Xid error that has ended a rank
SUCCESS, SM_CLOCK, GPU_TEMPERATURE, XID_EVENTS = 0, 1, 0, 0x8  # NVML's constants
# Xid errors by which the hardware fails, or says that it will; the others also come from programs (NVIDIA's catalogue).
HARDWARE_XIDS = {48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuReading:
    """The state of a GPU; None where NVML does not tell."""

    clock_mhz: int | None = None  # of its multiprocessors: it falls when the GPU is hot or short of power
    temperature_c: int | None = None
    xid: int | None = None  # the driver's last error on this GPU since the start of this process


class _Event(ctypes.Structure):
    """NVML's `nvmlEventData_t`."""

    _fields_ = (
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class GpuSensors:
    """Reads one GPU at most every `READ_EVERY_S` seconds, and logs its Xid errors."""

    def __init__(self, world: World) -> None:
        self._rank = world.rank
        self._last, self._read_at = GpuReading(), -READ_EVERY_S
        self._library: Any = None  # without it, every value is None
        self._hears = False  # Xid errors
        self._device, self._events = ctypes.c_void_p(), ctypes.c_void_p()
        self._address = pci_address(world.device) if world.device.type == "cuda" else ""
        if not self._address:
            return
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            return
        by_address = self._address.encode()
        found = self._call("nvmlInit_v2") and self._call(
            "nvmlDeviceGetHandleByPciBusId_v2", by_address, ctypes.byref(self._device)
        )
        if not found:
            self._library = None
            return
        self._call("nvmlEventSetCreate", ctypes.byref(self._events))
        self._hears = self._call("nvmlDeviceRegisterEvents", self._device, ctypes.c_ulonglong(XID_EVENTS), self._events)

    def read(self) -> GpuReading:
        """Return the GPU's state, not older than `READ_EVERY_S`."""
        now = time.monotonic()
        if self._library is not None and now - self._read_at >= READ_EVERY_S:
            self._read_at = now
            clock_mhz = self._number("nvmlDeviceGetClockInfo", SM_CLOCK)
            temperature_c = self._number("nvmlDeviceGetTemperature", GPU_TEMPERATURE)
            self._last = GpuReading(clock_mhz, temperature_c, self._hear(0))
        return self._last

    def of_rank(self, rank: int) -> GpuReading:
        """Return the state of another rank's GPU. Every rank calls it."""
        own = self.read()
        return GpuReading(*gather((own.clock_mhz, own.temperature_c, own.xid))[rank])

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Log the Xid error behind an error in the block; CUDA's own message often does not name it."""
        try:
            yield
        except RuntimeError:
            if self._library is not None:
                self._hear(LAST_WAIT_MS)
            raise

    def _hear(self, wait_ms: int) -> int | None:
        """Log the new Xid errors, and return the last one since the start. Waits for the first one only."""
        xid, event = self._last.xid, _Event()
        while self._hears and self._call(
            "nvmlEventSetWait_v2", self._events, ctypes.byref(event), ctypes.c_uint(wait_ms)
        ):
            xid, wait_ms = int(event.data), 0
            log.error("%s", explain_xid(xid, self._rank, self._address))
        return xid

    def _number(self, function: str, which: int) -> int | None:
        value = ctypes.c_uint()
        return value.value if self._call(function, self._device, ctypes.c_int(which), ctypes.byref(value)) else None

    def _call(self, name: str, *arguments: Any) -> bool:
        """Call a function of NVML; return whether it exists and succeeds."""
        function = getattr(self._library, name, None)
        return function is not None and function(*arguments) == SUCCESS


def explain_xid(xid: int, rank: int, address: str) -> str:
    """Return one line for the log."""
    node = os.uname().nodename
    advice = (
        f"its hardware needs a check: keep jobs from the node until then (cluster.exclude = {node!r})"
        if xid in HARDWARE_XIDS
        else "see NVIDIA's catalogue of Xid errors, and the kernel's log on the node"
    )
    return f"GPU {address} of rank {rank} on {node}: the driver reports Xid {xid}; {advice}"
