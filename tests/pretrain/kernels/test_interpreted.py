from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

FUSED = Path(__file__).parent / "fused"


pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the tests in fused/ run on the GPU"),
]


def test_fused_kernels_in_the_interpreter() -> None:
    run_interpreted("not slow")


@pytest.mark.slow
def test_training_in_the_interpreter() -> None:
    run_interpreted("slow")


def run_interpreted(selection: str) -> None:
    """Run the tests in a separate process: Triton reads TRITON_INTERPRET when a kernel's module is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", selection, str(FUSED)]
    command.append(f"--hypothesis-profile={settings.get_current_profile_name()}")
    # One thread: on tensors this small, several would only wait for each other.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
