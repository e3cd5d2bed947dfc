"""The tests in `fused/` run on a GPU, or in a process that starts with Triton's interpreter enabled.

`test_interpreted.py` starts such a process; in any other they are not collected.
"""

from __future__ import annotations

import os

import torch

collect_ignore = [] if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1" else ["fused"]
