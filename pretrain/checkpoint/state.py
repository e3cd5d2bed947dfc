"""The training state that a checkpoint's `state.json` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import UserError
from pretrain.data import RowRange
from pretrain.engine import RunningLoss

FORMAT_VERSION = 1
STATE = "state.json"
RESUME_FIX = "resume from another checkpoint with --resume PATH, or start from step 0 with --resume never"

Shapes = dict[str, tuple[int, ...]]


class StateEntry(BaseModel):
    """A frozen part of state.json. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(StateEntry):
    """The file of one rank."""

    name: str
    bytes: int
    sha256: str


class TrainingState(StateEntry):
    """The state of a training. The trainer sets the first group of fields, `save_checkpoint` the second."""

    step: int  # optimizer steps, including skipped ones
    cursor: int  # training rows consumed or skipped since the start
    skipped_steps: int = 0
    samples: int = 0  # rows trained on
    tokens: int = 0  # tokens trained on
    time_s: float = 0.0  # seconds of training, over all starts
    skipped: list[RowRange] = []  # ranges of rows skipped after faults: first row, and first row after the range
    losses: RunningLoss = RunningLoss()  # reference for detecting loss spikes
    dataset: str = ""  # digest of the data set that the cursor refers to
    recipe: dict[str, Any] = {}

    format_version: int = FORMAT_VERSION
    optimizer_steps: int = 0  # AdamW's t: steps that were not skipped
    loss_scale: float = 1.0  # of the next step; 1 except in fp16
    world_size: int = 1
    zero_stage: int = 0
    parameters: Shapes = {}
    files: list[FileEntry] = []


def read_state(folder: Path) -> TrainingState:
    """Read a checkpoint's state.json. Raises `UserError` if it is missing, damaged, or of another format version."""
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
