"""Settings of downstream tasks: a task's data, and its fine-tuning budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from configs.keys import FILE
from configs.schema import LocalPath, Section

Kind = Literal["classify", "pair", "qa", "tag", "choice"]
Device = Literal["auto", "cpu", "cuda"]

# The kinds of task that read a key; the others would ignore it.
KINDS_OF: dict[str, tuple[Kind, ...]] = {
    "regression": ("classify", "pair"),
    "positive": ("classify", "pair"),
    "text": ("classify", "pair", "tag"),
    "text_b": ("pair",),
    "label": ("classify", "pair", "tag", "choice"),
    "columns": ("classify", "pair", "choice"),
    "bad_records": ("classify", "pair", "tag", "choice"),
}

USUAL_LENGTH, SHORTEST_LENGTH = 128, 16  # tokens of a row


def usual_length(positions: int) -> int:
    """Return the row length of a task that states none, for a model with this many positions."""
    return min(USUAL_LENGTH, positions)


class TaskConfig(Section):
    """One labelled data set and how to read it."""

    name: str = Field("task", min_length=1, description="Name of the task in reports.")
    kind: Kind = Field(
        description="classify: one class, or a list of labels, or a number for a text; pair: for two texts; qa: answer "
        "questions by spans of a context (SQuAD); tag: label each token (CoNLL columns, or lists of tokens and "
        "labels); choice: choose one of several endings."
    )
    data: LocalPath = Field(
        json_schema_extra=FILE,
        description="Training file, recognised by its content: CSV (commas, tabs, semicolons), JSONL, a JSON array, "
        "Parquet, Arrow; SQuAD's JSON for qa; CoNLL columns for tag; compressed or not. Or a folder of `datasets`, or "
        "one with files named train, validation and test.",
    )
    validation: LocalPath | None = Field(
        None,
        json_schema_extra=FILE,
        description="Validation file, used to select the best epoch; unset: a tenth of the data.",
    )
    test: LocalPath | None = Field(
        None, json_schema_extra=FILE, description="Test file, used for the report; unset: another tenth of the data."
    )
    second_test: LocalPath | None = Field(
        None,
        json_schema_extra=FILE,
        description="A further test file that the same models answer, e.g. MNLI's mismatched part; its metrics are "
        "reported beside those of `test`, as `second_accuracy` etc.",
    )
    columns: list[str] = Field([], description="Names of the columns of CSV files without a header line.")
    text: str | None = Field(
        None,
        description="Column of the (first) text, or of the tokens of tag; unset: `text`, or another usual name, e.g. "
        "sentence, premise.",
    )
    text_b: str | None = Field(None, description="pair: column of the second text; unset: `text_b`, or a usual name.")
    label: str | None = Field(
        None,
        description="Column of the label; unset: `label`, or another usual name. tag: a number from 1, or CoNLL-U's "
        "name; unset: the last one, UPOS of CoNLL-U, the outer entities of GermEval.",
    )
    regression: bool = Field(False, description="classify, pair: the label is a number, e.g. a similarity.")
    bad_records: Literal["refuse", "drop"] = Field(
        "refuse",
        description="Records without a text or label, or that cannot be read: refuse the file and name the line, or "
        "drop and count them.",
    )
    metric: str | None = Field(
        None, description="Metric that selects the best epoch and is reported first; unset: the usual one of the task."
    )
    positive: str | None = Field(
        None, description="Of two classes, the one that f1 is about; unset: the last in order, e.g. 1, pos, true."
    )
    published: float | None = Field(None, description="A published value of the metric, shown beside the result.")
    second_published: float | None = Field(
        None, description="A published value of the metric on `second_test`, shown beside the result."
    )

    @model_validator(mode="after")
    def _keys_take_part(self) -> TaskConfig:
        for name, kinds in KINDS_OF.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} needs a task of kind {' or '.join(kinds)}; remove it")
        if self.positive is not None and self.regression:
            raise ValueError("positive names a class, but the labels of a regression are numbers; remove it")
        return self


class FinetuneConfig(Section):
    """A fine-tuning budget, the same for every compared model."""

    epochs: int = Field(4, ge=1, description="Maximum number of passes over the training records.")
    patience: int = Field(
        2, ge=1, description="Stop after this many consecutive epochs without a better validation score."
    )
    batch_size: int = Field(32, ge=1, description="Texts, windows or choices per optimizer step.")
    learning_rate: float = Field(
        5e-5, gt=0.0, le=1e3, description="Peak learning rate; it decays linearly to 0 at the end."
    )
    warmup_fraction: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share of the steps over which the learning rate rises."
    )
    weight_decay: float = Field(
        0.01, ge=0.0, description="Decoupled weight decay; not applied to biases and LayerNorm."
    )
    dropout: float | None = Field(
        None, ge=0.0, lt=1.0, description="Dropout probability of encoder and head; unset: as in pretraining."
    )
    max_length: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Maximum tokens per row, from 16; longer qa contexts are divided into windows; 0: 128, or the "
        "model's positions if they are fewer.",
    )
    stride: int = Field(32, ge=1, description="qa: tokens shared by consecutive windows.")
    freeze_layers: int = Field(
        0, ge=0, description="Number of lowest layers that are frozen, together with the embeddings; 0: none."
    )
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU.")
    device: Device = Field("auto", description="auto: CUDA if a GPU is available, else CPU.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="classify, pair: balanced weights each class by the inverse of its frequency in training."
    )
    layer_decay: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Factor of the learning rate from each layer to the one below it, e.g. 0.9; the head has the full "
        "rate. 1: the same rate for all.",
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        description="Parts into which each batch is divided to save memory; the gradient is that of the whole batch.",
    )
    seeds: int = Field(1, ge=1, le=1000, description="Number of trials, with the seeds 0, 1, 2 …")

    @field_validator("max_length")
    @classmethod
    def _is_long_enough(cls, length: int) -> int:
        if 0 < length < SHORTEST_LENGTH:
            raise ValueError(f"rows of {length} tokens are too short; set it to {SHORTEST_LENGTH} or more, or to 0")
        return length

    def fitted_to(self, positions: int) -> FinetuneConfig:
        """Return the settings with the row length that they have for a model with this many positions."""
        return self.model_copy(update={"max_length": self.max_length or usual_length(positions)})
