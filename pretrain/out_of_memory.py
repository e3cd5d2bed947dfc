"""What to do when a rank runs out of memory: the numbers that matter, and what to lower."""

from __future__ import annotations

import torch

from configs.schema import Recipe
from configs.units import GIB
from pretrain.cost import HARDWARE, Cost
from pretrain.engine import World

CPU_SIGNS = ("can't allocate memory", "not enough memory")  # in the RuntimeErrors of torch's CPU allocator


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is torch's or Python's out-of-memory error."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in CPU_SIGNS)


def explain_out_of_memory(recipe: Recipe, world: World) -> str:
    """Return one line: the micro-batch, what torch holds on a GPU, what the plan expects, and what to change."""
    train = recipe.train
    profile = "cpu" if world.device.type == "cpu" else "h200"  # they differ in the memory of the activations
    cost = Cost(recipe, HARDWARE[profile], recipe.data.vocabulary.size)
    rows = min(cost.micro_batch_size, -(-train.global_batch_size // world.world_size))
    planned = cost.memory(world.world_size, rows, train.stage_on(world.world_size))
    bound = "micro_batch_tokens" if cost.micro_batch_size < train.micro_batch_size else "micro_batch_size"
    held = ""
    if world.device.type == "cuda":
        allocated, reserved = (
            size / GIB for size in (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
        )
        held = f"torch allocated at most {allocated:.1f} GiB and reserved {reserved:.1f} GiB; "
    return (
        f"rank {world.rank} is out of memory with micro-batches of {rows} rows; {held}the plan expects "
        f"{planned.states_gib:.1f} GiB for weights, gradients and optimizer and {planned.activations_gib:.1f} GiB for "
        f"activations. Halve train.{bound} (the global batch stays the same), set "
        "train.activation_checkpointing, or raise train.zero_stage; `bertrain plan` shows what fits"
    )
