"""The process keeps freed memory."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: the setting is the process's. A page that is touched for the first time is a fault.
FAULTS = """
import resource
import torch
from pretrain.engine.devices import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory()
for step in range(8):
    before = faults()
    activations = [torch.ones(mib << 18) for mib in range(8, 40, 2)]
    del activations
print((faults() - before) / 256)  # MiB of the last step's 368
"""


def test_freed_memory_is_reused_by_the_next_step() -> None:
    ended = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 40  # more than 100 as glibc is
