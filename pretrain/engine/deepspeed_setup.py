"""Configure and import DeepSpeed. Only this file uses the names of DeepSpeed's settings."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import torch.distributed
from torch import nn

from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine import buffers
from pretrain.engine.distributed import World
from pretrain.engine.optimizers import OPTIMIZERS
from pretrain.engine.sharded_weights import is_sharded_here

log = logging.getLogger(__name__)

SUPPRESSED_MESSAGES = (
    "OVERFLOW",  # a skipped step: `StepResult` reports it
    "untested optimizer",  # our own optimizers, which our tests cover
)


def deepspeed_config(model: nn.Module, optimizer: OptimizerConfig, train: TrainConfig, world: World) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a model that is not partitioned yet."""
    elements = sum(parameter.numel() for parameter in model.parameters())
    largest_vector = max((parameter.numel() for parameter in model.parameters() if parameter.dim() <= 1), default=0)
    stage = 0 if is_sharded_here(train) else train.zero_stage  # DeepSpeed's part of stage 1 is that of stage 0
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": 1,  # losses are already normalised, and `backward` receives `last`
        "zero_allow_untested_optimizer": not OPTIMIZERS[optimizer.name].is_known_to_deepspeed,
        "communication_data_type": train.gradient_reduction,
        "gradient_clipping": optimizer.gradient_clipping if stage else 0.0,
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": min(elements, buffers.BUCKET_ELEMENTS),
            # Stage 3 keeps complete biases and LayerNorms on every rank and gathers only matrices when they are used.
            "stage3_param_persistence_threshold": largest_vector,
        },
        # Its throughput timer would wait for the GPU at each forward and step; ours (telemetry) does not.
        "timers": {"throughput": {"enabled": False}},
    }
    if stage == 2 and world.world_size > 1 and not train.offload_optimizer:
        # Overlap the reduction of buckets with the backward, as at stage 3, and reduce complete buckets. DeepSpeed's
        # default divides a bucket by owner: it is still reduced on all ranks, but the host waits for the GPU after each
        # bucket. fp16 needs the division: without it, additional steps overflow (tests/distributed/test_fp16.py).
        config["zero_optimization"] |= {"overlap_comm": True, "reduce_scatter": train.precision == "fp16"}
    if stage == 3:  # DeepSpeed's own limits, which the cost model uses too
        config["zero_optimization"] |= {
            "stage3_max_live_parameters": buffers.KEPT_PARAMETERS,
            "stage3_prefetch_bucket_size": buffers.PREFETCHED_PARAMETERS,
        }
    if partitions_in_nodes(train, world):
        config["zero_optimization"]["zero_hpz_partition_size"] = world.local_world_size
    if train.offload_optimizer:  # Ren et al. 2021; with torch's AdamW, because DeepSpeed's would have to be compiled
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
        config["zero_force_ds_cpu_optimizer"] = False
    if train.precision == "bf16" and stage:
        config["bf16"] = {"enabled": True, "immediate_grad_update": True}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if train.precision == "fp16":
        # The scale doubles after 1,000 good steps and halves at an overflow. Losses are means: 2^16 is a safe start.
        config["fp16"] = {"enabled": True, "loss_scale": 0, "initial_scale_power": 16, "hysteresis": 1}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def partitions_in_nodes(train: TrainConfig, world: World) -> bool:
    """Return whether each node has a partition of the weights of its own (hpZ: Wang et al. 2023, section 3.2)."""
    return train.zero_stage == 3 and train.node_partition and 1 < world.local_world_size < world.world_size


def set_node_group(deepspeed: Any, train: TrainConfig, world: World) -> None:
    """Make the process group of this rank's node, in which weights are gathered, if the recipe asks for it.

    DeepSpeed would make it with a timeout of its own, and would use that of an earlier engine of this process.
    """
    deepspeed.utils.groups._ZERO_PARAM_INTRA_PARALLEL_GROUP = None
    if not partitions_in_nodes(train, world):
        return
    whole = torch.distributed.group.WORLD
    assert whole is not None
    for first in range(0, world.world_size, world.local_world_size):  # every rank takes part in making every group
        ranks = range(first, first + world.local_world_size)
        group = torch.distributed.new_group(list(ranks), timeout=whole._get_backend(world.device).options._timeout)
        if world.rank in ranks:
            deepspeed.utils.groups._ZERO_PARAM_INTRA_PARALLEL_GROUP = group


def import_deepspeed(world: World) -> Any:
    """Import DeepSpeed with less logging, and with settings that it would otherwise detect incorrectly or slowly.

    The import reads its settings from the environment.
    """
    os.environ |= {
        "DS_ACCELERATOR": world.device.type,  # otherwise it uses any GPU it finds, even if the recipe says "cpu"
        "RANK": str(world.rank),
        "LOCAL_RANK": str(world.local_rank),
        "WORLD_SIZE": str(world.world_size),
        "LOCAL_SIZE": str(world.local_world_size),  # otherwise stage 3 runs `numactl` at each reduction on a CPU
    }
    import deepspeed
    import deepspeed.runtime.compiler
    import deepspeed.utils.groups

    # Its optimizer Muon, unused here, starts torch's compiler on import, which adds 1.2 s to each start.
    deepspeed.runtime.compiler.compile = lambda: deepspeed.runtime.compiler.dummy_decorator
    logger = logging.getLogger("DeepSpeed")  # it has its own handler that prints to stdout
    logger.handlers.clear()
    logger.propagate = True
    logger.addFilter(lambda record: not any(text in record.getMessage() for text in SUPPRESSED_MESSAGES))
    # It calls collectives by deprecated names.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    if world.device.type == "cpu":
        # Its shared-memory all-reduce is compiled at the first start: 40 s with a compiler, an abort without one. That
        # is more than it saves on a machine with few ranks, so the list of compatible ops is emptied.
        deepspeed.ops.__compatible_ops__ = {}
        if world.rank == 0:
            log.info("ranks on this CPU use gloo: DeepSpeed's shared-memory all-reduce would have to be compiled first")
    # Its own copy of the world group would wait half an hour for a lost rank, independent of the recipe's timeout.
    deepspeed.utils.groups._WORLD_GROUP = torch.distributed.group.WORLD
    return deepspeed
