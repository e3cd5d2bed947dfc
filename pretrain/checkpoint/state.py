"""Where a training is: what `state.json` of a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import UserError
from pretrain.data import RowRange
from pretrain.engine import RunningLoss

FORMAT_VERSION = 1
STATE = "state.json"
RESUME_FIX = "resume from another checkpoint with --resume PATH, or start anew with --resume never"

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
    """Where training is. The trainer fills in the first part, `save_checkpoint` the second."""

    step: int  # optimizer steps taken, skipped ones included
    cursor: int  # training rows consumed or skipped since the start
    skipped_steps: int = 0
    samples: int = 0  # rows trained on
    tokens: int = 0  # tokens trained on
    time_s: float = 0.0  # seconds of training, over all starts
    skipped: list[RowRange] = []  # rows skipped after a fault: the first, and the first after them
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


def read_state(folder: Path) -> TrainingState:
    """A checkpoint's state.json; `UserError` when there is none, or it is not of this version."""
    path = folder / STATE
    try:
        state = TrainingState.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"no checkpoint: {STATE}: {error.strerror}", place=str(folder), fix=RESUME_FIX) from error
    except ValidationError as error:
        raise UserError(f"{STATE} is damaged, or of another version", place=str(folder), fix=RESUME_FIX) from error
    if state.format_version != FORMAT_VERSION:
        cause = f"format version {state.format_version}, but this bertrain reads {FORMAT_VERSION}"
        raise UserError(cause, place=str(path), fix=RESUME_FIX)
    return state
