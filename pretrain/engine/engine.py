"""DeepSpeed's engine as this project uses it (deepspeed_setup.py has its configuration).

This file works around DeepSpeed's behaviour where it does not fit; each workaround has its reason next to it. At ZeRO
stages 0 and 1, DeepSpeed runs the step (and at stage 0 reduces the gradients), but the master weights are our own.
DeepSpeed's bf16 without ZeRO accumulates gradients in bf16, makes an optimizer step at the start, and waits for the GPU
once per parameter; its fp32 trains on a NaN. See `sharded_weights.py` for stage 1. With fp16 or offload, stage 1 is
DeepSpeed's.

At every stage and precision, gradients are accumulated and weights are updated in fp32. `train.gradient_reduction` is
the precision in which gradients are summed over ranks.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.errors import UserError
from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine import partition
from pretrain.engine.deepspeed_setup import deepspeed_config, import_deepspeed, set_node_group
from pretrain.engine.distributed import World
from pretrain.engine.host_copy import HostCopy
from pretrain.engine.master_weights import MasterWeights
from pretrain.engine.optimizers import OPTIMIZERS, parameter_groups
from pretrain.engine.partition import Partition
from pretrain.engine.sharded_weights import ShardedWeights, is_sharded_here


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    `grad_norm` is the global norm before clipping. `skipped` means that a gradient was not finite on some rank: nothing
    changed on any rank, and the norm is infinite. In fp16 this also happens if `loss_scale`, by which the loss was
    multiplied, was too large: then the next scale is smaller, and `scale_fell` is true.
    """

    grad_norm: float
    skipped: bool
    loss_scale: float = 1.0
    scale_fell: bool = False


class Engine:
    """A model in training: forward, backward, step, and the partition of its weights and moments.

    `model` is a complete fp32 model, equal on every rank; all of its parameters are trained and used in every forward.
    The engine takes ownership of it: in bf16 its weights become bf16, and at stage 3 they are partitioned.
    """

    def __init__(self, model: nn.Module, optimizer: OptimizerConfig, train: TrainConfig, world: World) -> None:
        _check_precision(train, world)
        self.world = world
        self.zero_stage = train.zero_stage
        self._is_fp16 = train.precision == "fp16"
        self.shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        self.optimizer_steps = 0  # t of the bias correction: steps that were not skipped
        self._clipping = optimizer.gradient_clipping
        groups = parameter_groups(model, optimizer.weight_decay)
        kind = OPTIMIZERS[optimizer.name]
        one_pass = None
        if kind.make_one_pass and self.zero_stage == 0 and train.precision == "bf16" and _is_alone_on_a_cpu(world):
            one_pass = kind.make_one_pass(groups, optimizer)
        self._optimizer = one_pass or kind.make(groups, optimizer, train.kernels)
        self._optimizer.register_step_pre_hook(self._before_update)
        self._norms: list[HostCopy] = []  # of the current step, read before each group's update
        self._one_pass = one_pass
        # Called in each step with every gradient that this rank saves the weight of, after clipping, and its name.
        self.read_gradient: Callable[[str, Tensor], None] | None = None
        self._masters: MasterWeights | ShardedWeights | None = None  # None where DeepSpeed holds them
        if self.zero_stage == 0:
            self._masters = MasterWeights(model, self._optimizer, one_pass, train, world)
        elif is_sharded_here(train):
            self._masters = ShardedWeights(model, self._optimizer, train, world)
        self._micro_steps = 0  # of the current step
        # DeepSpeed casts weights into new tensors and rounds its masters from those; these keep the exact fp32 values.
        exact = {name: parameter.detach() for name, parameter in model.named_parameters()}
        config = deepspeed_config(model, optimizer, train, world)
        deepspeed = import_deepspeed(world)
        set_node_group(deepspeed, train, world)
        with contextlib.redirect_stdout(None):  # one of its optimizers prints memory usage
            self._deepspeed, *_ = deepspeed.initialize(model=model, optimizer=self._optimizer, config=config)
        if self._masters and (world.world_size == 1 or self.zero_stage):
            self._deepspeed.enable_backward_allreduce = False  # it would copy all gradients to a buffer and back
        if self._is_fp16:  # the trainer handles a scale that cannot fall further
            self._deepspeed.optimizer.loss_scaler.raise_error_at_min_scale = False
        self.partition = self._make_partition()
        is_partitioned = self.zero_stage > 0 and world.world_size > 1
        kind.locate(self._optimizer, self.partition.places, is_partitioned=is_partitioned)
        if not self._masters:
            for fragment in self.partition.fragments:
                fragment.master.copy_(exact[fragment.name].view(-1).narrow(0, fragment.offset, fragment.numel))

    @property
    def module(self) -> nn.Module:
        """The model, for `train()`, `eval()` and forwards without gradients; at stage 3 every rank must call it."""
        module: nn.Module = self._deepspeed.module
        return module

    def forward(self, batch: object) -> tuple[Tensor, ...]:
        """Return the model's outputs for one micro-batch."""
        outputs: tuple[Tensor, ...] = self._deepspeed(batch)
        return outputs

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add one micro-batch's gradients; `last` marks the last micro-batch of the step.

        `loss` is this micro-batch's share of the global loss: the sum over micro-batches and ranks is the training
        loss. Every rank makes the same number of micro-steps, which can change between steps.
        """
        if self._masters and not self._micro_steps:
            self._masters.expect_gradients(once=last)
        self._micro_steps += 1
        self._deepspeed.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over ranks (stage 3 has no `sum`), but shares must be added.
        averaged_over = 1 if isinstance(self._masters, ShardedWeights) else self.world.world_size
        self._deepspeed.backward(loss * averaged_over, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> StepResult:
        """Clip the accumulated gradients by their global norm and make one step, or skip it on all ranks."""
        for group in self._optimizer.param_groups:
            group |= {"lr": learning_rate, "step": self.optimizer_steps + 1}
        self._micro_steps = 0
        result = self._step_of_masters(self._masters) if self._masters else self._step_of_deepspeed()
        self.optimizer_steps += not result.skipped
        return result

    def skip_step(self) -> StepResult:
        """Discard the accumulated gradients instead of making a step. Every rank calls it.

        Weights and moments do not change. DeepSpeed sees an overflow, so that the fp16 loss scale falls.
        """
        self._micro_steps = 0
        if self._masters:
            return self._discard_gradients(self._masters)
        zero = self._deepspeed.optimizer
        update_scale = zero._update_scale

        def declare_overflow(_: bool) -> None:
            zero.overflow = True
            update_scale(True)

        zero._update_scale = declare_overflow
        try:
            return self._step_of_deepspeed()
        finally:
            del zero._update_scale

    def set_optimizer_steps(self, steps: int) -> None:
        """Set the number of steps made so far, which the bias correction of the moments uses."""
        self.optimizer_steps = steps
        for state in self._optimizer.state.values():
            state["step"].fill_(steps)

    @property
    def loss_scale(self) -> float:
        """The factor of the next loss, which prevents fp16 gradients from vanishing; 1 in other precisions."""
        return float(self._deepspeed.optimizer.loss_scaler.cur_scale) if self._is_fp16 else 1.0

    def set_loss_scale(self, scale: float) -> None:
        """Set the loss scale from a checkpoint. Has no effect unless both trainings use fp16."""
        if self._is_fp16 and scale != 1.0:
            self._deepspeed.optimizer.loss_scaler.cur_scale = scale

    def _step_of_deepspeed(self) -> StepResult:
        loss_scale = self.loss_scale
        self._norms.clear()
        self._deepspeed.step()
        if not self._deepspeed.was_step_applied():
            return StepResult(math.inf, skipped=True, loss_scale=loss_scale, scale_fell=self.loss_scale < loss_scale)
        (grad_norm,) = self._norms[0].values()
        return StepResult(grad_norm, skipped=False, loss_scale=loss_scale)

    def _before_update(self, *_: object) -> None:
        """Start copying the norm to the host before the update begins, so that reading it does not wait for it."""
        if not self._masters:
            self._norms.append(HostCopy(torch.as_tensor(self._deepspeed.optimizer._global_grad_norm)))
        if self.read_gradient:
            scale = self._one_pass.scale if self._one_pass else 1.0  # it clips while it updates
            for name, gradient in self.partition.gradients():
                self.read_gradient(name, gradient.float() * scale)

    def _step_of_masters(self, masters: MasterWeights | ShardedWeights) -> StepResult:
        """Make or skip a step at stages 0 and 1. All ranks know the same norm and decide equally."""
        grad_norm = masters.take_gradients(self._clipping)
        if not math.isfinite(grad_norm):
            return self._discard_gradients(masters)
        self._deepspeed.step()
        masters.end_step()
        return StepResult(grad_norm, skipped=False)

    def _discard_gradients(self, masters: MasterWeights | ShardedWeights) -> StepResult:
        masters.discard_gradients()
        return StepResult(math.inf, skipped=True)

    def _make_partition(self) -> Partition:
        if isinstance(self._masters, ShardedWeights):
            places = [place for bucket in self._masters.buckets for place in bucket.places()]
            return partition.divided(places, self._optimizer, self._masters.refresh)
        if self._masters:
            return partition.replicated(self._masters.by_name, self._optimizer, self._masters.refresh, self.world)
        if self.zero_stage == 3:
            return partition.sharded(self.module, self._optimizer, self._deepspeed.optimizer, self.world)
        return partition.flat(self.module, self._optimizer, self._deepspeed.optimizer)


def _check_precision(train: TrainConfig, world: World) -> None:
    if train.precision == "fp16" and world.device.type != "cuda":
        fix = 'set it to "bf16" or "fp32", or train on a GPU'
        raise UserError("fp16 training needs a GPU, and this is a CPU", place="train.precision", fix=fix)


def _is_alone_on_a_cpu(world: World) -> bool:
    return world.world_size == 1 and world.device.type == "cpu"
