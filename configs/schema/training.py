"""`[optimizer]`, `[train]`, and `[checkpoint]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.schema.section import Section


class OptimizerConfig(Section):
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "lamb"] = Field(
        "adamw", description="AdamW, or LAMB for large batches; neither decays biases and LayerNorm."
    )
    learning_rate: float = Field(1e-4, gt=0.0, description="Peak learning rate, reached at the end of the warmup.")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="Decay of the gradient's running mean.")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="Decay of the squared gradient's running mean.")
    eps: float = Field(1e-6, gt=0.0, description="Added to the update's denominator.")
    weight_decay: float = Field(0.01, ge=0.0, description="Decoupled weight decay.")
    gradient_clipping: float = Field(1.0, ge=0.0, description="Bound on the global gradient norm; 0: none.")
    warmup_steps: int = Field(10_000, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    decay: Literal["linear", "polynomial", "constant"] = Field(
        "linear", description="After the warmup: to 0 at train.steps, evenly or by a power of what is left, or not."
    )
    decay_power: float = Field(0.5, gt=0.0, description="Exponent of the polynomial decay; below 1 it ends steeply.")
    decay_steps: int = Field(
        0,
        ge=0,
        description="Last steps, over which the rate falls from its peak; 0: all after the warmup. To begin the decay "
        "at any checkpoint, resume from it with train.steps at its step + decay_steps.",
    )


class MixedDataset(Section):
    """One data set of a mixture."""

    dataset: str = Field(description="Folder or URL of the data set.")
    weight: float = Field(gt=0.0, description="Its share of the rows, beside the others' weights.")


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(1_000_000, ge=1, description="Optimizer steps in all.")
    budget_min: float = Field(
        0.0,
        ge=0.0,
        description="Minutes of training over all starts, evaluations and saves apart, when it ends and the decay "
        "reaches 0, unless train.steps are over before; 0: no such end. Not repeatable to the last bit.",
    )
    global_batch_size: int = Field(256, ge=1, description="Rows (pairs) an optimizer step, over all ranks.")
    first_global_batch_size: int = Field(
        1, ge=1, description="Rows of the first step, if the batch grows; at most global_batch_size."
    )
    batch_growth_steps: int = Field(
        0, ge=0, description="Steps over which rows a step grow linearly to global_batch_size; 0: it is so from step 1."
    )
    micro_batch_size: int = Field(32, ge=1, description="Most rows a rank takes at once; accumulation follows.")
    zero_stage: Literal[0, 1, 2, 3] = Field(
        1, description="ZeRO: 0 replicates, 1 shards optimizer state, 2 gradients, 3 weights."
    )
    activation_checkpointing: bool = Field(
        False,
        description="Keep one tensor a layer for the backward pass and compute the rest anew: less memory, same "
        "result, a third more work.",
    )
    offload_optimizer: bool = Field(
        False,
        description="Keep master weights and moments in the host's memory and update them there (ZeRO-Offload): less "
        "GPU memory, slower steps. For AdamW at ZeRO stage 1 and above.",
    )
    precision: Literal["bf16", "fp16", "fp32"] = Field(
        "bf16", description="bf16 with fp32 master weights; fp16 with them and a dynamic loss scale, on GPUs; or fp32."
    )
    kernels: Literal["auto", "triton", "reference"] = Field(
        "auto", description="Fused operations: Triton's on a GPU and plain torch's elsewhere, or always one of them."
    )
    seed: int = Field(42, ge=0, lt=2**63, description="Seed of initial weights, data order and dropout.")
    initialise_from: str | None = Field(
        None, description="Run, checkpoint or Hugging Face folder whose weights to start from; unset: random ones."
    )
    shuffle_window_rows: int = Field(
        1 << 20, ge=1, description="Rows are permuted within windows of this many (part of the order)."
    )
    mixture: list[MixedDataset] = Field(
        [], description="Data sets to train on, mixed; none: data.dataset, whose held-out rows are evaluated anyway."
    )
    stage_in: str | None = Field(
        None,
        description="Folder on a node's own disk, $VARIABLES allowed, to copy shards to before they are read; "
        "unset: the temporary folder for a data set at a URL, and others are read in place.",
    )
    stage_gib: float = Field(50.0, gt=0.0, description="Most GiB of copied shards on a node.")
    profile_steps: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="Steps of which rank 0 writes a torch.profiler trace to <run>/profile."
    )
    log_every_steps: int = Field(10, ge=1, description="Steps between console lines; metrics.jsonl has every step.")
    evaluate_every_steps: int = Field(
        0, ge=0, description="Steps between evaluations on the held-out split; 0: at the end only."
    )
    evaluate_rows: int = Field(10_000, ge=1, description="Most held-out rows an evaluation reads, from the first on.")
    max_skipped_steps: int = Field(
        10,
        ge=1,
        description="Skipped steps in a row (a gradient that is not finite, a spike) after which training goes back "
        "to the newest checkpoint and passes over their rows. A falling loss scale of fp16 does not count.",
    )
    skip_loss_spikes: bool = Field(
        False, description="Skip a step whose loss is 6 deviations above the last steps' mean; else it is only logged."
    )

    def stage_on(self, ranks: int) -> int:
        """The ZeRO stage that so many ranks train at: one has nothing to share out, and stage 0 is the faster.

        fp16 and offload are DeepSpeed's, at any other stage.
        """
        is_deepspeeds = self.precision == "fp16" or self.offload_optimizer
        return self.zero_stage if ranks > 1 or is_deepspeeds else 0

    @model_validator(mode="after")
    def _precision_fits_stage(self) -> TrainConfig:
        if self.precision == "fp16" and self.zero_stage == 0:
            raise ValueError(
                'precision "fp16" needs zero_stage 1 or above, or take "bf16"; one rank may have stage 1 too'
            )
        return self

    @model_validator(mode="after")
    def _offload_fits_stage(self) -> TrainConfig:
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1 or above; one rank may have stage 1 too")
        return self

    @model_validator(mode="after")
    def _batch_grows(self) -> TrainConfig:
        if self.batch_growth_steps and self.first_global_batch_size > self.global_batch_size:
            raise ValueError(
                f"first_global_batch_size {self.first_global_batch_size} is above global_batch_size "
                f"{self.global_batch_size}; lower the former"
            )
        return self


class CheckpointConfig(Section):
    """When to save, and what to keep."""

    every_steps: int = Field(1_000, ge=1, description="Steps between checkpoints; the last step is always saved.")
    keep: int = Field(3, ge=1, description="Newest checkpoints to keep.")
    keep_every_steps: int = Field(0, ge=0, description="Keep checkpoints of multiples of this for good; 0: of none.")
