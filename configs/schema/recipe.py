"""All sections of a recipe, and the rules between them."""

from __future__ import annotations

from pydantic import Field, model_validator

from configs.schema.cluster import ClusterConfig
from configs.schema.data import DataConfig
from configs.schema.model import ModelConfig
from configs.schema.paths import LocalPath
from configs.schema.rows import Objective
from configs.schema.section import Section
from configs.schema.training import MOST_ROWS, CheckpointConfig, OptimizerConfig, TrainConfig


class Recipe(Section):
    """All settings, from raw text to a pretrained model."""

    name: str = Field(
        "bert", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="The run's name: letters, digits, . _ -"
    )
    runs: LocalPath = Field(
        "runs",
        description="Folder of all runs; this run is in <runs>/<name>. Here and in all paths of a recipe, ~ and "
        "$VARIABLE are replaced, and a relative path starts at the folder in which the command runs.",
    )
    license: str = Field(
        "unknown",
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        description="License of the model, for its card: an identifier of the Hugging Face Hub, e.g. apache-2.0.",
    )
    data: DataConfig = Field(DataConfig(), description="The data set.")
    model: ModelConfig = Field(ModelConfig(), description="The shape of BERT.")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="The optimizer and its learning-rate schedule.")
    train: TrainConfig = Field(TrainConfig(), description="The training loop.")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="Checkpoints.")
    cluster: ClusterConfig = Field(ClusterConfig(), description="Ranks, devices and the scheduler.")

    @property
    def objective(self) -> Objective:
        """The sentence objective of the training."""
        return self.model.objective_of(self.data.objective)

    def predicted_tokens(self, length: int) -> int:
        """Return the number of tokens that are predicted in a row of this length: the masks, or all that follow."""
        if self.model.is_left_to_right:
            return max(1, length - (2 if self.data.objective == "none" else 3))  # without [CLS] and [SEP]
        return min(self.data.max_predictions_per_seq, max(1, round(self.data.masked_lm_prob * length)))

    def with_batch_of(self, row_tokens: float) -> Recipe:
        """Return the recipe with the `train.global_batch_size` that has `train.global_batch_tokens`, if these are set.

        `row_tokens` is the mean number of tokens per row.
        """
        if not self.train.global_batch_tokens:
            return self
        rows = min(MOST_ROWS, max(1, round(self.train.global_batch_tokens / row_tokens)))
        return self.model_copy(update={"train": self.train.model_copy(update={"global_batch_size": rows})})

    @model_validator(mode="after")
    def _sections_fit(self) -> Recipe:
        if self.data.max_seq_length > self.model.max_position_embeddings:
            raise ValueError(
                f"data.max_seq_length {self.data.max_seq_length} is above model.max_position_embeddings "
                f"{self.model.max_position_embeddings}; raise the latter or lower the former"
            )
        if self.model.is_modern and self.data.objective != "none":
            raise ValueError(
                f'data.objective "{self.data.objective}" needs token types, which model.architecture "modernbert" '
                'lacks; set data.objective to "none"'
            )
        if self.train.offload_optimizer and self.optimizer.name == "lamb":
            raise ValueError(
                'train.offload_optimizer needs optimizer.name "adamw": LAMB sums norms over ranks on the GPUs'
            )
        if self.train.precision == "fp16" and self.cluster.device == "cpu":
            raise ValueError('train.precision "fp16" needs GPUs, but cluster.device is "cpu"; use "bf16" or "fp32"')
        if 0 < self.train.micro_batch_tokens < self.data.max_seq_length:
            raise ValueError(
                f"train.micro_batch_tokens {self.train.micro_batch_tokens} is below data.max_seq_length "
                f"{self.data.max_seq_length}, so a row would not fit; raise the former"
            )
        self._schedule_fits()
        return self

    def _schedule_fits(self) -> None:
        optimizer, steps = self.optimizer, self.train.steps
        key = "warmup_share" if optimizer.warmup_share else "warmup_steps"
        warmup, decay = optimizer.warmup_of(steps), optimizer.decay_steps
        if optimizer.decay == "constant":
            for name in ("decay_steps", "decay_from_step"):
                if getattr(optimizer, name):
                    raise ValueError(f'optimizer.{name} needs a decay, but optimizer.decay is "constant"')
        if optimizer.decay_from_step:
            if decay:
                raise ValueError("optimizer.decay_from_step and optimizer.decay_steps both begin the decay; set one")
            if optimizer.decay_from_step >= steps:
                raise ValueError(
                    f"optimizer.decay_from_step {optimizer.decay_from_step} is not below train.steps {steps}"
                )
        elif warmup >= steps:
            raise ValueError(f"optimizer.{key} {warmup:g} is not below train.steps {steps}; lower the former")
        elif warmup + decay > steps:
            raise ValueError(
                f"optimizer.{key} {warmup:g} and optimizer.decay_steps {decay} together are above train.steps {steps}; "
                "lower one of them"
            )
