"""Where a training is: what `state.json` of a checkpoint holds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from pretrain.data import RowRange
from pretrain.engine import RunningLoss

FORMAT_VERSION = 1

Shapes = dict[str, tuple[int, ...]]


class StateEntry(BaseModel):
    """A part of state.json. Frozen; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(StateEntry):
    """One rank's file."""

    name: str
    bytes: int
    sha256: str


class TrainingState(StateEntry):
    """Where training is. The trainer fills in the first part, `save` the second."""

    step: int  # optimizer steps taken, skipped ones included
    cursor: int  # training rows consumed or passed over since the start
    skipped_steps: int = 0
    samples: int = 0  # rows trained on
    tokens: int = 0  # tokens trained on
    time_s: float = 0.0  # seconds of training, over all starts
    skipped: list[RowRange] = []  # rows passed over after a fault: the first, and the first after them
    losses: RunningLoss = RunningLoss()  # what a spike is measured by
    dataset: str = ""  # digest of the data set in which the cursor counts
    recipe: dict[str, Any] = {}

    format_version: int = FORMAT_VERSION
    optimizer_steps: int = 0  # AdamW's t: steps that were not skipped
    loss_scale: float = 1.0  # of the next step; 1 unless in fp16
    world_size: int = 1
    zero_stage: int = 0
    parameters: Shapes = {}
    files: list[FileEntry] = []
