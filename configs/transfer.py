"""Settings of the second stage: which data a task has, and the budget of its fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.keys import FILE
from configs.schema import Section

Kind = Literal["classify", "pair", "qa", "tag", "choice"]
Device = Literal["auto", "cpu", "cuda"]


class TaskConfig(Section):
    """One labelled data set and how to read it."""

    name: str = Field("task", min_length=1, description="What reports call it.")
    kind: Kind = Field(
        description="classify: one text; pair: two texts, classes or a number; qa: spans, SQuAD's JSON; "
        "tag: a label a token, CoNLL columns; choice: one of several endings."
    )
    data: str = Field(
        json_schema_extra=FILE,
        description="Training file: .csv, .tsv, .jsonl; SQuAD's .json for qa; CoNLL columns for tag.",
    )
    validation: str | None = Field(
        None, json_schema_extra=FILE, description="File to choose the best epoch on; unset: a tenth of the data."
    )
    test: str | None = Field(
        None, json_schema_extra=FILE, description="File to report on; unset: another tenth of the data."
    )
    text: str = Field("text", description="classify, pair: the column of the (first) text.")
    text_b: str = Field("text_b", description="pair: the column of the second text.")
    label: str = Field("label", description="classify, pair: the column of the label.")
    regression: bool = Field(False, description="pair: the label is a number, e.g. a similarity.")

    @model_validator(mode="after")
    def _numbers_are_for_pairs(self) -> TaskConfig:
        if self.regression and self.kind != "pair":
            raise ValueError("regression is for tasks of kind pair; remove it")
        return self


class FinetuneConfig(Section):
    """The budget of a fine-tuning: the same for every model that is compared."""

    epochs: int = Field(4, ge=1, description="Most passes over the training records.")
    patience: int = Field(2, ge=1, description="Stop after this many epochs in a row without a better validation.")
    batch_size: int = Field(32, ge=1, description="Texts, windows or choices an optimizer step.")
    learning_rate: float = Field(5e-5, gt=0.0, description="Peak learning rate; it falls to 0 over the last epoch.")
    warmup_fraction: float = Field(0.1, ge=0.0, lt=1.0, description="Share of the steps with a rising learning rate.")
    weight_decay: float = Field(0.01, ge=0.0, description="Decoupled weight decay, none on biases and LayerNorm.")
    dropout: float | None = Field(None, ge=0.0, lt=1.0, description="In encoder and head; unset: as in pretraining.")
    max_length: int = Field(128, ge=16, description="Most tokens of a row; longer contexts of qa become windows.")
    stride: int = Field(32, ge=1, description="qa: tokens that a window shares with the one before.")
    freeze_layers: int = Field(0, ge=0, description="Embeddings and this many layers, from below, are not trained.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU.")
    device: Device = Field("auto", description="auto: CUDA where there is a GPU.")
    seeds: int = Field(1, ge=1, le=1000, description="Trials, each with a seed of its own: 0, 1, 2 …")
