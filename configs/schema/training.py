"""`[optimizer]`, `[train]`, and `[checkpoint]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.schema.paths import LocalPath, NodePath
from configs.schema.section import Section

MOST_STEPS, MOST_ROWS = 10**9, 10**8


class OptimizerConfig(Section):
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "lamb"] = Field(
        "adamw",
        description="adamw; or lamb, for large batches. Neither applies weight decay to biases and LayerNorm.",
    )
    learning_rate: float = Field(
        1e-4, ge=1e-30, le=1e3, description="Peak learning rate, reached at the end of the warmup."
    )
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="Decay rate of the running mean of the gradient.")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="Decay rate of the running mean of the squared gradient.")
    eps: float = Field(1e-6, ge=1e-30, le=1.0, description="Added to the denominator of the update.")
    weight_decay: float = Field(0.01, ge=0.0, le=1e3, description="Decoupled weight decay.")
    gradient_clipping: float = Field(
        1.0, ge=0.0, le=1e9, description="Maximum global gradient norm, at least 1e-9; 0: no clipping."
    )
    warmup_steps: int = Field(
        10_000,
        ge=0,
        le=MOST_STEPS,
        description="Steps over which the learning rate rises linearly from 0 to its peak.",
    )
    warmup_share: float = Field(
        0.0, ge=0.0, lt=1.0, description="The same as a share of train.steps, instead of warmup_steps; 0: warmup_steps."
    )
    minimum_learning_rate: float = Field(
        0.0, ge=0.0, le=1e3, description="Learning rate to which the decay falls, at most learning_rate."
    )
    decay: Literal["linear", "polynomial", "cosine", "root", "constant"] = Field(
        "linear",
        description="Learning rate after the warmup. linear: falls linearly to its minimum at train.steps; polynomial: "
        "falls as the remaining share of the decay steps to the power decay_power; cosine: falls along half a cosine; "
        "root: falls as 1 minus the square root of the share of the decay steps that is done; constant: stays at the "
        "peak.",
    )
    decay_power: float = Field(
        0.5, ge=1e-3, le=1e3, description="Exponent of the polynomial decay; below 1 the rate falls fastest at the end."
    )
    decay_steps: int = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="Number of last steps over which the learning rate falls from its peak; 0: all steps after the "
        "warmup. To begin the decay at a checkpoint, resume from it with train.steps set to its step + decay_steps.",
    )
    decay_from_step: int = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="Step after which the decay begins at decay_from_rate: to change the schedule of a run without a "
        "jump of the rate. 0: the decay begins at the peak, after the warmup.",
    )
    decay_from_rate: float = Field(
        0.0, ge=0.0, le=1e3, description="Learning rate at which the decay begins, if decay_from_step is set."
    )

    def warmup_of(self, steps: float) -> float:
        """Return the number of warmup steps in a training of this many steps."""
        return round(self.warmup_share * steps) if self.warmup_share else self.warmup_steps

    @model_validator(mode="after")
    def _rates_fit(self) -> OptimizerConfig:
        top = self.decay_from_rate if self.decay_from_step else self.learning_rate
        if self.decay_from_step and not self.decay_from_rate:
            raise ValueError("decay_from_step needs decay_from_rate, the learning rate at which the decay begins")
        if 0.0 < self.gradient_clipping < 1e-9:
            raise ValueError(
                f"gradient_clipping {self.gradient_clipping} clips each gradient to nothing; raise it, or set it to 0"
            )
        if self.minimum_learning_rate > top:
            raise ValueError(
                f"minimum_learning_rate {self.minimum_learning_rate} is above {top}, where the decay begins; lower it"
            )
        return self


class MixedDataset(Section):
    """One data set in a mixture."""

    dataset: LocalPath = Field(
        description="Folder or URL of the data set; a relative path starts at the working folder."
    )
    weight: float = Field(
        ge=1e-6, le=1e6, description="Weight relative to the other data sets; determines its share of the rows."
    )


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(1_000_000, ge=1, le=MOST_STEPS, description="Total number of optimizer steps.")
    epochs: float = Field(
        0.0,
        ge=0.0,
        le=1e6,
        description="Passes over the training rows, which determine train.steps; 0: train.steps holds.",
    )
    tokens: int = Field(
        0,
        ge=0,
        le=10**18,
        description="Tokens to train on, without padding, which determine train.steps; 0: train.steps holds.",
    )
    budget_min: float = Field(
        0.0,
        ge=0.0,
        le=1e8,
        description="Training time in minutes over all starts, excluding evaluations and saves. Training ends after "
        "it, with the decay at 0, unless train.steps are done before; 0: no limit. Such a run is not reproducible bit "
        "for bit.",
    )
    global_batch_size: int = Field(
        256, ge=1, le=MOST_ROWS, description="Rows (pairs) per optimizer step over all ranks."
    )
    global_batch_tokens: int = Field(
        0,
        ge=0,
        le=10**12,
        description="Tokens per optimizer step over all ranks, without padding, which determine global_batch_size by "
        "the data set's mean tokens per row; 0: global_batch_size holds.",
    )
    first_global_batch_size: int = Field(
        1, ge=1, le=MOST_ROWS, description="Rows of the first step if the batch grows; at most global_batch_size."
    )
    batch_growth_steps: int = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="Steps over which the rows per step grow linearly to global_batch_size; 0: the batch is constant.",
    )
    micro_batch_size: int = Field(
        32, ge=1, le=MOST_ROWS, description="Maximum rows per rank and micro-batch; determines gradient accumulation."
    )
    micro_batch_tokens: int = Field(
        0,
        ge=0,
        le=10**10,
        description="Maximum tokens per rank and micro-batch, beside its maximum of rows; at least "
        "data.max_seq_length. For rows of very different lengths, of which a few fill a GPU's memory; 0: no limit.",
    )
    pad_tokens_to: int = Field(
        1,
        ge=1,
        le=1 << 20,
        description="Add rows without loss to each micro-batch, so that its number of tokens is a multiple of this, "
        "and that of masked positions of an eighth of it: few different shapes. Loss, gradients and dropout stay the "
        "same; padding_pct states the cost. 1: nothing is added.",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        1,
        description="ZeRO stage. 0: everything is replicated; 1: optimizer states are sharded; 2: gradients too; "
        "3: weights too.",
    )
    node_partition: bool = Field(
        False,
        description="ZeRO stage 3: keep another partition of the weights within each node (hpZ of ZeRO++), so that "
        "only the first gather of a step crosses nodes. Takes a weight's bytes divided by cluster.ranks_per_node. "
        "Saves traffic with gradient accumulation, or above 10^9 weights.",
    )
    activation_checkpointing: bool = Field(
        False,
        description="Keep one tensor per layer for the backward pass and recompute the others: less memory, the same "
        "result, a third more computation.",
    )
    offload_optimizer: bool = Field(
        False,
        description="Keep master weights and moments in host memory and update them there (ZeRO-Offload): less GPU "
        "memory, slower steps. Needs AdamW and ZeRO stage 1 or above.",
    )
    precision: Literal["bf16", "fp16", "fp32"] = Field(
        "bf16",
        description="bf16: with fp32 master weights; fp16: with fp32 master weights and a dynamic loss scale, on GPUs "
        "only; fp32.",
    )
    gradient_reduction: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Precision in which gradients are summed over ranks. bf16 sends half the bytes and needs precision "
        "bf16; its rounding is 0.4, 0.9 and 2.4 % of the gradient's norm on 8, 64 and 512 ranks, that of fp32 at most "
        "0.2 %.",
    )
    kernels: Literal["auto", "triton", "reference"] = Field(
        "auto",
        description="Implementation of the fused operations. auto: Triton on a GPU, plain PyTorch elsewhere; triton; "
        "reference: plain PyTorch.",
    )
    seed: int = Field(42, ge=0, lt=2**63, description="Seed of initial weights, data order and dropout.")
    initialise_from: LocalPath | None = Field(
        None,
        description="Run, checkpoint or Hugging Face folder that provides the initial weights; unset: random weights. "
        "A relative path starts at the working folder.",
    )
    initialise_by: Literal["copying", "tiling"] = Field(
        "copying",
        description="How the model starts from initialise_from. copying: it has the same shape; tiling: it can be "
        "larger, with heads of the same width, and is filled with copies of the smaller model's weights, centred, as "
        "ModernBERT-large was from base.",
    )
    shuffle_window_rows: int = Field(
        1 << 20, ge=1, le=1 << 40, description="Rows are shuffled within windows of this size (part of the data order)."
    )
    mixture: list[MixedDataset] = Field(
        [],
        description="Data sets to train on, mixed by weight; empty: data.dataset. The held-out rows are always those "
        "of data.dataset.",
    )
    stage_in: NodePath | None = Field(
        None,
        description="Folder on a node's local disk to which shards are copied before they are read; $VARIABLES "
        "and ~ are replaced on the node. Unset: the temporary folder for a data set at a URL; other data sets are read "
        "in place.",
    )
    stage_gib: float = Field(50.0, ge=1e-6, le=1e6, description="Maximum GiB of copied shards per node.")
    profile_steps: list[Annotated[int, Field(ge=1, le=MOST_STEPS)]] = Field(
        [], description="Steps for which rank 0 writes a torch.profiler trace to <run>/profile."
    )
    trackers: list[Literal["wandb", "mlflow"]] = Field(
        [],
        description="Services that get the scalars of each step beside TensorBoard: Weights & Biases, MLflow (each "
        "needs its extra). Their own environment variables say where, e.g. WANDB_MODE=offline and "
        "MLFLOW_TRACKING_URI=http://host:5000.",
    )
    histogram_every_steps: int = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="Steps between histograms of all weights and gradients in TensorBoard, which take about 1.5 MB "
        "each for BERT base; 0: none.",
    )
    log_every_steps: int = Field(
        10, ge=1, le=MOST_STEPS, description="Steps between console lines; metrics.jsonl records every step."
    )
    evaluate_every_steps: int = Field(
        0, ge=0, le=MOST_STEPS, description="Steps between evaluations on the held-out split; 0: only at the end."
    )
    evaluate_rows: int = Field(
        10_000, ge=1, le=1 << 40, description="Maximum number of held-out rows per evaluation, starting at the first."
    )
    max_skipped_steps: int = Field(
        10,
        ge=1,
        le=MOST_STEPS,
        description="Consecutive skipped steps (gradient not finite, or loss spike) after which training rolls back "
        "to the newest checkpoint and skips their rows. Steps that lower the fp16 loss scale do not count.",
    )
    skip_loss_spikes: bool = Field(
        False,
        description="Skip a step whose loss is more than 6 standard deviations above the running mean; otherwise a "
        "spike is only logged.",
    )

    def stage_on(self, ranks: int) -> int:
        """Return the ZeRO stage used with this number of ranks.

        A single rank has nothing to shard and trains at stage 0, which is faster. fp16 and offload are implemented by
        DeepSpeed at stages 1 to 3 only, so they keep the recipe's stage.
        """
        is_deepspeeds = self.precision == "fp16" or self.offload_optimizer
        return self.zero_stage if ranks > 1 or is_deepspeeds else 0

    @field_validator("profile_steps", "trackers")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        return list(dict.fromkeys(values))

    @model_validator(mode="after")
    def _precision_fits_stage(self) -> TrainConfig:
        if self.precision == "fp16" and self.zero_stage == 0:
            raise ValueError(
                'precision "fp16" needs zero_stage 1 or above, also with one rank; raise it, or use "bf16"'
            )
        return self

    @model_validator(mode="after")
    def _offload_fits_stage(self) -> TrainConfig:
        if self.gradient_reduction == "bf16" and self.precision != "bf16":
            raise ValueError('gradient_reduction "bf16" needs precision "bf16"; use "fp32"')
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1 or above, also with one rank; raise it")
        return self

    @model_validator(mode="after")
    def _node_partition_fits_stage(self) -> TrainConfig:
        if self.node_partition and self.zero_stage != 3:
            raise ValueError("node_partition needs zero_stage 3, which partitions weights; raise it")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.epochs and self.tokens:
            raise ValueError("train.epochs and train.tokens both determine train.steps; set one of them")
        return self

    @model_validator(mode="after")
    def _batch_grows(self) -> TrainConfig:
        if self.batch_growth_steps and self.global_batch_tokens:
            raise ValueError("a batch that grows counts rows; set global_batch_size instead of global_batch_tokens")
        if self.batch_growth_steps and self.first_global_batch_size > self.global_batch_size:
            raise ValueError(
                f"first_global_batch_size {self.first_global_batch_size} is above global_batch_size "
                f"{self.global_batch_size}; lower the former"
            )
        return self


class CheckpointConfig(Section):
    """When to save checkpoints, and which ones to keep."""

    every_steps: int = Field(
        1_000, ge=1, le=MOST_STEPS, description="Steps between checkpoints; the last step is always saved."
    )
    keep: int = Field(3, ge=1, le=MOST_STEPS, description="Number of newest checkpoints to keep.")
    keep_every_steps: int = Field(
        0, ge=0, le=MOST_STEPS, description="Keep checkpoints permanently at steps that are multiples of this; 0: none."
    )
    every_minutes: Annotated[float, Field(ge=1e-3, le=1e6)] | Literal["auto"] | None = Field(
        None,
        description="Also save after this many minutes without a save. auto: the interval of Young and Daly, which "
        "loses the least time, from the measured time of a save and failures_per_gpu_day; unset: save by steps only.",
    )
    failures_per_gpu_day: float = Field(
        4.74e-4,
        ge=1e-9,
        le=1e3,
        description="Failures that end a start, per rank and day, as `auto` and `bertrain plan` assume them. The "
        "default is the rate that was published for the training of Llama 3.",
    )
    in_background: bool = Field(
        True,
        description="Copy the checkpoint to host memory and write it while training continues; needs 12 bytes of host "
        "memory per weight that a rank saves. The last checkpoint of a start is always written before training ends.",
    )
