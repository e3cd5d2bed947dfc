"""Fixtures of the pretrain tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from pretrain.engine import distributed
from pretrain.engine.distributed import World
from tests.distributed import small


@pytest.fixture(scope="module")
def alone() -> Iterator[World]:
    """A process group of one rank in this process, which is removed afterwards."""
    environment, threads = dict(os.environ), torch.get_num_threads()
    for name in distributed.TORCHRUN:
        os.environ.pop(name, None)
    try:
        yield small.join()
    finally:
        distributed.leave_process_group()
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
