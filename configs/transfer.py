"""Settings of downstream tasks: a task's data, and its fine-tuning budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.keys import FILE
from configs.schema import LocalPath, Section

Kind = Literal["classify", "pair", "qa", "tag", "choice"]
Device = Literal["auto", "cpu", "cuda"]


class TaskConfig(Section):
    """One labelled data set and how to read it."""

    name: str = Field("task", min_length=1, description="Name of the task in reports.")
    kind: Kind = Field(
        description="classify: classify a text; pair: classify or score a pair of texts; qa: answer questions by spans "
        "of a context (SQuAD JSON); tag: label each token (CoNLL columns); choice: choose one of several endings."
    )
    data: LocalPath = Field(
        json_schema_extra=FILE,
        description="Training file: .csv, .tsv or .jsonl; SQuAD .json for qa; CoNLL columns for tag.",
    )
    validation: LocalPath | None = Field(
        None,
        json_schema_extra=FILE,
        description="Validation file, used to select the best epoch; unset: a tenth of the data.",
    )
    test: LocalPath | None = Field(
        None, json_schema_extra=FILE, description="Test file, used for the report; unset: another tenth of the data."
    )
    text: str = Field("text", description="classify, pair: column of the (first) text.")
    text_b: str = Field("text_b", description="pair: column of the second text.")
    label: str = Field("label", description="classify, pair: column of the label.")
    regression: bool = Field(False, description="pair: the label is a number, e.g. a similarity.")

    @model_validator(mode="after")
    def _numbers_are_for_pairs(self) -> TaskConfig:
        if self.regression and self.kind != "pair":
            raise ValueError("regression needs a task of kind pair; remove it")
        return self


class FinetuneConfig(Section):
    """A fine-tuning budget, the same for every compared model."""

    epochs: int = Field(4, ge=1, description="Maximum number of passes over the training records.")
    patience: int = Field(
        2, ge=1, description="Stop after this many consecutive epochs without a better validation score."
    )
    batch_size: int = Field(32, ge=1, description="Texts, windows or choices per optimizer step.")
    learning_rate: float = Field(5e-5, gt=0.0, description="Peak learning rate; it decays linearly to 0 at the end.")
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
        128, ge=16, description="Maximum tokens per row; longer qa contexts are divided into windows."
    )
    stride: int = Field(32, ge=1, description="qa: tokens shared by consecutive windows.")
    freeze_layers: int = Field(
        0, ge=0, description="Number of lowest layers that are frozen, together with the embeddings; 0: none."
    )
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU.")
    device: Device = Field("auto", description="auto: CUDA if a GPU is available, else CPU.")
    seeds: int = Field(1, ge=1, le=1000, description="Number of trials, with the seeds 0, 1, 2 …")
