"""DeepSpeed's configuration and its import: the only file that knows the names of its settings."""

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

log = logging.getLogger(__name__)

UNSAID = (
    "OVERFLOW",  # a skipped step: `StepResult` says it
    "untested optimizer",  # ours: it is tested
)


def deepspeed_config(
    model: nn.Module, optimizer: OptimizerConfig, train: TrainConfig, world_size: int
) -> dict[str, Any]:
    """DeepSpeed's configuration for a model that is still whole."""
    elements = sum(parameter.numel() for parameter in model.parameters())
    largest_vector = max((parameter.numel() for parameter in model.parameters() if parameter.dim() <= 1), default=0)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": 1,  # losses come normalised, and `backward` is told which is the last
        "zero_allow_untested_optimizer": not OPTIMIZERS[optimizer.name].is_known_to_deepspeed,
        "gradient_clipping": optimizer.gradient_clipping if train.zero_stage else 0.0,
        "zero_optimization": {
            "stage": train.zero_stage,
            "reduce_bucket_size": min(elements, buffers.BUCKET_ELEMENTS),
            # Stage 3 keeps biases and LayerNorm whole on every rank and gathers only matrices when they are used.
            "stage3_param_persistence_threshold": largest_vector,
        },
    }
    if train.zero_stage == 2 and world_size > 1 and not train.offload_optimizer:
        # Buckets travel beside the backward, as they do at stage 3. Whole: cut up for their owners, as DeepSpeed would
        # by default, they are reduced on all ranks just the same, but the host waits for the GPU after each bucket. In
        # fp16 they are cut up: whole, steps overflow that would not otherwise (tests/distributed/test_fp16.py).
        config["zero_optimization"] |= {"overlap_comm": True, "reduce_scatter": train.precision == "fp16"}
    if train.zero_stage == 3:  # DeepSpeed's own limits, which the cost model knows too
        config["zero_optimization"] |= {
            "stage3_max_live_parameters": buffers.KEPT_PARAMETERS,
            "stage3_prefetch_bucket_size": buffers.PREFETCHED_PARAMETERS,
        }
    if train.offload_optimizer:  # Ren et al. 2021; by torch's AdamW, as elsewhere: DeepSpeed's own would be compiled
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
        config["zero_force_ds_cpu_optimizer"] = False
    if train.precision == "bf16" and train.zero_stage:
        config["bf16"] = {"enabled": True, "immediate_grad_update": True}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if train.precision == "fp16":
        # Doubled after 1,000 good steps, halved at an overflow. The losses are means, so that 2^16 is a safe start.
        config["fp16"] = {"enabled": True, "loss_scale": 0, "initial_scale_power": 16, "hysteresis": 1}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def import_deepspeed(world: World) -> Any:
    """DeepSpeed, quietened, and told what it would find out wrongly or slowly; its import reads the environment."""
    os.environ |= {
        "DS_ACCELERATOR": world.device.type,  # else a GPU, if there is one, whatever the recipe says
        "RANK": str(world.rank),
        "LOCAL_RANK": str(world.local_rank),
        "WORLD_SIZE": str(world.world_size),
        "LOCAL_SIZE": str(world.local_world_size),  # else stage 3 runs `numactl` at each reduction on a CPU
    }
    import deepspeed
    import deepspeed.runtime.compiler
    import deepspeed.utils.groups

    # It imports an optimizer of its own, Muon, which starts torch's compiler: 1.2 s of each start for nothing.
    deepspeed.runtime.compiler.compile = lambda: deepspeed.runtime.compiler.dummy_decorator
    logger = logging.getLogger("DeepSpeed")  # prints to stdout by itself
    logger.handlers.clear()
    logger.propagate = True
    logger.addFilter(lambda record: not any(words in record.getMessage() for words in UNSAID))
    # It calls collectives by names that torch has since changed.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    if world.device.type == "cpu":
        # Its shared-memory all-reduce is compiled at the first start, 40 s with a compiler, an abort without one: more
        # than it would save a machine whose ranks are a few. The list of ops that can be built is left empty.
        deepspeed.ops.__compatible_ops__ = {}
        if world.rank == 0:
            log.info("ranks on this CPU reduce by gloo: DeepSpeed's shared-memory op would have to be compiled first")
    # Its own copy of the group of all ranks would wait half an hour for a lost one, whatever the recipe says.
    deepspeed.utils.groups._WORLD_GROUP = torch.distributed.group.WORLD
    return deepspeed
