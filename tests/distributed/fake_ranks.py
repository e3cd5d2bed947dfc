"""One rank of any number of ranks in a process of its own, with torch's fake process group.

    figures = fake_ranks.run(count, rank=3, world_size=512, stage)      # count(world, stage), in a new process

Every collective returns at once, with results made from this rank's own tensors: sizes, calls, and memory are those of
a real rank; sums over ranks are not.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.distributed.ranks import ROOT

PER_NODE = 8


def run(function: Callable[..., Any], rank: int, world_size: int, *arguments: Any, timeout_s: float = 600) -> Any:
    """Call `function(world, *arguments)` as one of the ranks, and return its result.

    The function must be at the top level of a module, and JSON must be able to hold its arguments and result.
    """
    module = sys.modules[function.__module__].__spec__  # it has the real name of a module that runs as __main__
    assert module is not None
    sent = json.dumps([module.name, function.__name__, rank, world_size, *arguments])
    done = subprocess.run(
        [sys.executable, "-m", __name__, sent], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise RuntimeError(f"rank {rank} of {world_size} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def join(rank: int, world_size: int) -> Any:
    """Return the `World` of one of `world_size` fake ranks on nodes of eight, and set up its process group."""
    import torch.distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from pretrain.engine.distributed import World

    torch.set_num_threads(1)
    torch.distributed.reduce_scatter_tensor = _zeroed(torch.distributed.reduce_scatter_tensor)
    store = FakeStore()
    torch.distributed.init_process_group("fake", store=store, rank=rank, world_size=world_size)
    world = World(rank, rank % PER_NODE, world_size, min(world_size, PER_NODE))
    _agree_with_rank_0(world)
    return world


def _zeroed(reduce_scatter: Callable[..., Any]) -> Callable[..., Any]:
    """Return the collective with a result of zeros: the fake one leaves it as it was allocated, NaNs among others."""

    def reduce_scatter_zeros(output: Any, *arguments: Any, **options: Any) -> Any:
        return reduce_scatter(output.zero_(), *arguments, **options)

    return reduce_scatter_zeros


def _agree_with_rank_0(world: Any) -> None:
    """Make DeepSpeed's comparisons with rank 0, which sends nothing here, compare a rank with itself."""
    from pretrain.engine.deepspeed_setup import import_deepspeed

    import_deepspeed(world)
    from deepspeed.runtime.zero import utils

    utils.assert_lst_len_same_as_other_ranks = lambda _: None
    utils.get_lst_from_rank0 = list


def _be_a_rank(sent: str) -> None:
    module, name, rank, world_size, *arguments = json.loads(sent)
    function = getattr(importlib.import_module(module), name)
    print(json.dumps(function(join(rank, world_size), *arguments)))


if __name__ == "__main__":
    _be_a_rank(sys.argv[1])
