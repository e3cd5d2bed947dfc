"""Ragged rows give each step different shapes, but memory on a CPU does not grow."""

from __future__ import annotations

import subprocess
import sys

# Products of as many rows as never before, in a process of their own: the caches are sized at the first product.
PRODUCTS = """
import os, pathlib
import torch
from configs.schema import ClusterConfig
from pretrain.engine.distributed import join_process_group

join_process_group(ClusterConfig(device="cpu", cpu_threads=1))

def resident_mib():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

weight = torch.ones(256, 256, dtype=torch.bfloat16)
for rows in range(1000, 1250):
    if rows == 1100:
        before = resident_mib()
    hidden = torch.ones(rows, 256, dtype=torch.bfloat16)
    hidden @ weight.t(), hidden.t() @ weight[:1].expand(rows, 256)
print(resident_mib() - before)
"""


def test_new_shapes_do_not_increase_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True)
    assert float(ended.stdout.split()[-1]) < 50  # MiB; some 190 with torch's own caches
