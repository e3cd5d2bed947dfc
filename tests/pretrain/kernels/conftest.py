"""The tests in `fused/` need Triton's kernels to run: on a GPU, or in a process where Triton interprets from the start.

`test_interpreted.py` runs them so; elsewhere they are not collected.
"""

from __future__ import annotations

import os

import torch

collect_ignore = [] if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1" else ["fused"]
