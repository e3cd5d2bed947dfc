from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# One or two registers of the Philox prologue, once per eight rows; nothing else may spill.
MAX_SPILLED_BYTES = 16
WITHOUT_WIDE_LOADS = {"lamb.sum_kernel", "lamb.moments_kernel", "lamb.update_kernel"}  # small, or unaligned segments


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_compile_for_h100_without_spills_and_with_wide_loads() -> None:
    command = [sys.executable, "-m", "tests.pretrain.kernels.hopper"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == 40
    for name, figures in kernels.items():
        assert figures["spilled_bytes"] <= MAX_SPILLED_BYTES, (name, figures)
        assert figures["widest_load_bytes"] == 16 or name in WITHOUT_WIDE_LOADS, (name, figures)
