"""DeepSpeed's engine, as this project uses it: the only file that knows DeepSpeed's configuration.

What DeepSpeed does otherwise than needed is mended here, each with its reason beside it. At ZeRO stage 0 it still sends
the gradients and makes the step, but the master weights are ours: its own bf16 without ZeRO accumulates gradients in
bf16, makes an optimizer step at the start, and waits for the GPU once a parameter; its fp32 trains on a NaN.

At every stage and precision gradients are accumulated and weights updated in fp32. In 16 bits the gradients travel
between ranks as those at stages 1 to 3, and as fp32 at stage 0.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from configs.errors import UserError
from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine import partition
from pretrain.engine.distributed import World, rank_and_size
from pretrain.engine.host_copy import HostCopy
from pretrain.engine.lamb import Lamb
from pretrain.engine.master_adamw import MasterAdamW
from pretrain.engine.master_weights import MasterWeights
from pretrain.engine.optimizers import adamw, parameter_groups
from pretrain.engine.partition import Partition

log = logging.getLogger(__name__)

BUCKET_ELEMENTS = 50_000_000  # of a reduction's buffer, at most; DeepSpeed would take 500 million for any model
UNSAID = (
    "OVERFLOW",  # a skipped step: `StepResult` says it
    "untested optimizer",  # ours: it is tested
)


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    `grad_norm` is the global norm before clipping. `skipped`: a gradient was not finite on some rank, nothing was
    changed on any, and the norm is infinite. In fp16 that also happens when `loss_scale`, by which the loss was
    multiplied, was too large: the next one is then smaller, and `scale_fell`.
    """

    grad_norm: float
    skipped: bool
    loss_scale: float = 1.0
    scale_fell: bool = False


class Engine:
    """A model in training: forward, backward, step, and the partition of its weights and moments.

    `model` is whole, in fp32 and the same on every rank; all of its parameters are trained and take part in every
    forward. It is taken over: in bf16 its weights become bf16, at stage 3 they are scattered over the ranks.
    """

    def __init__(self, model: nn.Module, optimizer: OptimizerConfig, train: TrainConfig, world: World) -> None:
        _check_precision(train, world)
        self.world = world
        self.zero_stage = train.zero_stage
        self._is_fp16 = train.precision == "fp16"
        self.shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        self.optimizer_steps = 0  # the bias correction's t: steps made and not skipped
        self._clipping = optimizer.gradient_clipping
        groups = parameter_groups(model, optimizer.weight_decay)
        self._optimizer = _optimizer_for(groups, optimizer, train, world)
        self._optimizer.register_step_pre_hook(self._read_norm)
        self._norms: list[HostCopy] = []  # of the present step, read before each group's update
        self._masters = None if train.zero_stage else MasterWeights(model, self._optimizer, train, world)
        self._micro_steps = 0  # of the present step
        # DeepSpeed casts into new tensors; these keep the fp32 values, for masters that start from rounded ones.
        exact = {name: parameter.detach() for name, parameter in model.named_parameters()}
        config = deepspeed_config(model, optimizer, train)
        deepspeed = _import_deepspeed(world)
        with contextlib.redirect_stdout(None):  # one of its optimizers prints the memory in use
            self._deepspeed, *_ = deepspeed.initialize(model=model, optimizer=self._optimizer, config=config)
        if self.zero_stage == 0 and world.world_size == 1:
            self._deepspeed.enable_backward_allreduce = False  # it would copy all gradients to a buffer and back
        if self._is_fp16:  # a scale that cannot fall further is the trainer's affair
            self._deepspeed.optimizer.loss_scaler.raise_error_at_min_scale = False
        self.partition = self._make_partition()
        if isinstance(self._optimizer, Lamb):
            self._optimizer.locate(self.partition.places, is_partitioned=self.zero_stage > 0 and world.world_size > 1)
        if self.zero_stage:
            for fragment in self.partition.fragments:
                fragment.master.copy_(exact[fragment.name].view(-1).narrow(0, fragment.offset, fragment.numel))

    @property
    def module(self) -> nn.Module:
        """The model, for `train()`, `eval()` and forwards without gradients; at stage 3 every rank must join in."""
        module: nn.Module = self._deepspeed.module
        return module

    def forward(self, batch: object) -> tuple[Tensor, ...]:
        """The model's outputs for one micro-batch."""
        outputs: tuple[Tensor, ...] = self._deepspeed(batch)
        return outputs

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add one micro-batch's gradients; `last` says that it is the step's last one.

        `loss` is this micro-batch's share of the global loss: shares add up, over micro-batches and ranks, to the loss
        that is trained on. Every rank makes the same number of micro-steps, which may change from step to step.
        """
        if self._masters and not self._micro_steps:
            self._masters.expect_gradients(once=last)
        self._micro_steps += 1
        self._deepspeed.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over ranks (its `sum` is not there at stage 3) where shares are to be added.
        self._deepspeed.backward(loss * self.world.world_size, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> StepResult:
        """Clip the accumulated gradients by their global norm and make one step, or skip it on all ranks."""
        for group in self._optimizer.param_groups:
            group |= {"lr": learning_rate, "step": self.optimizer_steps + 1}
        self._micro_steps = 0
        result = self._step_replicated(self._masters) if self._masters else self._step_sharded()
        self.optimizer_steps += not result.skipped
        return result

    def set_optimizer_steps(self, steps: int) -> None:
        """Go on as if `steps` steps had been made: the moments' bias correction follows them."""
        self.optimizer_steps = steps
        for state in self._optimizer.state.values():
            state["step"].fill_(steps)

    @property
    def loss_scale(self) -> float:
        """By how much the next loss is multiplied, so that fp16 gradients do not vanish; 1 in other precisions."""
        return float(self._deepspeed.optimizer.loss_scaler.cur_scale) if self._is_fp16 else 1.0

    def set_loss_scale(self, scale: float) -> None:
        """Go on from another training's loss scale. Without effect unless both are in fp16."""
        if self._is_fp16 and scale != 1.0:
            self._deepspeed.optimizer.loss_scaler.cur_scale = scale

    def _step_sharded(self) -> StepResult:
        loss_scale = self.loss_scale
        self._norms.clear()
        self._deepspeed.step()
        if not self._deepspeed.was_step_applied():
            return StepResult(math.inf, skipped=True, loss_scale=loss_scale, scale_fell=self.loss_scale < loss_scale)
        (grad_norm,) = self._norms[0].values()
        return StepResult(grad_norm, skipped=False, loss_scale=loss_scale)

    def _read_norm(self, *_: object) -> None:
        """An update is about to begin: what is read now does not wait for it."""
        if self.zero_stage:
            self._norms.append(HostCopy(torch.as_tensor(self._deepspeed.optimizer._global_grad_norm)))

    def _step_replicated(self, masters: MasterWeights) -> StepResult:
        """All ranks hold the same summed gradients, so that they decide alike."""
        grad_norm = masters.take_gradients(self._clipping)
        if not math.isfinite(grad_norm):
            self._deepspeed.zero_grad()
            return StepResult(math.inf, skipped=True)
        self._deepspeed.step()
        masters.let_go()
        if not isinstance(self._optimizer, MasterAdamW):
            self.partition.refresh()
        return StepResult(grad_norm, skipped=False)

    def _make_partition(self) -> Partition:
        if self._masters:
            return partition.replicated(self.module, self._optimizer, self._masters.by_name, self.world)
        if self.zero_stage == 3:
            return partition.sharded(self.module, self._optimizer, self._deepspeed.optimizer, self.world)
        return partition.flat(self.module, self._optimizer, self._deepspeed.optimizer)


def deepspeed_config(model: nn.Module, optimizer: OptimizerConfig, train: TrainConfig) -> dict[str, Any]:
    """DeepSpeed's configuration for a model that is still whole."""
    elements = sum(parameter.numel() for parameter in model.parameters())
    largest_vector = max((parameter.numel() for parameter in model.parameters() if parameter.dim() <= 1), default=0)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": 1,  # losses come normalised, and `backward` is told which is the last
        "zero_allow_untested_optimizer": optimizer.name == "lamb",  # ours, made for partitions
        "gradient_clipping": optimizer.gradient_clipping if train.zero_stage else 0.0,
        "zero_optimization": {
            "stage": train.zero_stage,
            "reduce_bucket_size": min(elements, BUCKET_ELEMENTS),
            # Stage 3 keeps biases and LayerNorm whole on every rank and gathers only matrices when they are used.
            "stage3_param_persistence_threshold": largest_vector,
        },
    }
    if train.zero_stage == 2 and rank_and_size()[1] > 1 and not train.offload_optimizer:
        # Buckets travel beside the backward, as they do at stage 3. Whole: cut up for their owners, as DeepSpeed would
        # by default, they are reduced on all ranks just the same, but the host waits for the GPU after each bucket. In
        # fp16 they are cut up: whole, steps overflow that would not otherwise (tests/distributed/test_fp16.py).
        config["zero_optimization"] |= {"overlap_comm": True, "reduce_scatter": train.precision == "fp16"}
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


def _check_precision(train: TrainConfig, world: World) -> None:
    if train.precision == "fp16" and world.device.type != "cuda":
        fix = 'set it to "bf16" or "fp32", or train on a GPU'
        raise UserError("fp16 training is for GPUs, and this is a CPU", place="train.precision", fix=fix)


def _optimizer_for(
    groups: list[dict[str, Any]], optimizer: OptimizerConfig, train: TrainConfig, world: World
) -> torch.optim.Optimizer:
    if optimizer.name == "lamb":
        return Lamb(groups, optimizer, train.kernels)
    narrow = train.precision == "bf16" and train.zero_stage == 0
    is_alone_on_cpu = world.world_size == 1 and world.device.type == "cpu"
    return adamw(groups, optimizer, MasterAdamW if narrow and is_alone_on_cpu else torch.optim.AdamW)


def _import_deepspeed(world: World) -> Any:
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
