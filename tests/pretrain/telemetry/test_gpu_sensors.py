"""What a rank reads from NVML. There is no GPU: the library is a stand-in, compiled from `nvml_stand_in.c`."""

from __future__ import annotations

import ctypes
import logging
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pretrain.engine import World
from pretrain.telemetry import gpu_sensors
from pretrain.telemetry.gpu_sensors import LAST_WAIT_MS, GpuReading, GpuSensors

COMPILER = shutil.which("cc")
ON_GPU = World(rank=3, world_size=8, device=torch.device("cuda", 0))
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in, in a file of its own for each test, because a library keeps its state."""
    library = tmp_path / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_stand_in.c")
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setattr(gpu_sensors, "LIBRARY", str(library))
    monkeypatch.setattr(gpu_sensors, "READ_EVERY_S", 0.0)
    properties = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return ctypes.CDLL(str(library))


def test_clock_and_temperature_are_read(nvml: Any) -> None:
    sensors = GpuSensors(ON_GPU)
    assert sensors.read() == GpuReading(1980, 61, None)
    nvml.set_gpu(1200, 88, 1)
    assert sensors.read() == sensors.of_rank(0) == GpuReading(1200, 88, None)


def test_a_reading_holds_for_some_seconds(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sensors, "READ_EVERY_S", 3600.0)
    sensors = GpuSensors(ON_GPU)
    sensors.read()
    nvml.set_gpu(1200, 88, 1)
    assert sensors.read() == GpuReading(1980, 61, None)


def test_xid_errors_are_logged_once_and_the_last_one_is_kept(nvml: Any, caplog: pytest.LogCaptureFixture) -> None:
    sensors = GpuSensors(ON_GPU)
    for xid in (31, 79):
        nvml.raise_xid(ctypes.c_ulonglong(xid))
    assert [sensors.read().xid, sensors.read().xid] == [79, 79]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("GPU 0000:1b:00.0 of rank 3 on ")
    assert "reports Xid 31; see NVIDIA's catalogue" in first
    assert "reports Xid 79; its hardware needs a check" in second
    assert "cluster.exclude" in second


def test_the_xid_error_behind_a_failure_is_awaited_and_named(nvml: Any, caplog: pytest.LogCaptureFixture) -> None:
    sensors = GpuSensors(ON_GPU)
    nvml.raise_xid(ctypes.c_ulonglong(48))
    with pytest.raises(RuntimeError, match="CUDA error"), sensors.errors_named():
        raise RuntimeError("CUDA error: unspecified launch failure")
    assert "reports Xid 48" in caplog.text
    with pytest.raises(RuntimeError), sensors.errors_named():
        raise RuntimeError("without an Xid error")
    assert nvml.last_wait_ms() == LAST_WAIT_MS


def test_functions_that_the_gpu_lacks_leave_their_values_out(nvml: Any) -> None:
    nvml.set_gpu(1200, 88, 0)
    assert GpuSensors(ON_GPU).read() == GpuReading(None, 88, None)


def test_a_gpu_that_nvml_does_not_show_has_no_reading(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(pci_domain_id=1, pci_bus_id=0x1B, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: other)
    assert GpuSensors(ON_GPU).read() == GpuReading()


def test_without_the_library_nothing_is_read_and_nothing_is_logged(
    nvml: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu_sensors, "LIBRARY", "no-such-library.so")
    sensors = GpuSensors(ON_GPU)
    with pytest.raises(RuntimeError), sensors.errors_named():
        raise RuntimeError
    assert sensors.read() == GpuSensors(World()).read() == GpuReading()
    assert caplog.records == [] or all(record.levelno < logging.WARNING for record in caplog.records)
