"""The training state that a checkpoint's `state.json` holds.

`state.json` proves itself: it contains the digest of its own values, the step that its folder's name states, and values
in their ranges. A state of format version 1 has no digest, but everything else is checked.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import UserError
from configs.files import read_bounded
from configs.records import parse_object
from configs.run_layout import CHECKPOINTS, RECIPE, step_of
from configs.schema import ModelConfig, OptimizerConfig, digest_of
from pretrain.data import RowRange
from pretrain.engine import RunningLoss

FORMAT_VERSION = 2  # 1: without a digest
READABLE = (1, 2)
STATE = "state.json"
DIGEST = "digest"
# Fields of the model that affect training only and can differ between two trainings of the same weights.
TRAINING_FIELDS = {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "decoder_bias_init"}

Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
Shapes = dict[str, tuple[Size, ...]]


class StateEntry(BaseModel):
    """A frozen part of state.json. Unknown keys and values of another type are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileEntry(StateEntry):
    """The file of one rank."""

    name: Annotated[str, Field(pattern=r"^rank_\d{5,}\.safetensors$")]  # in the checkpoint's own folder
    bytes: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class TrainingState(StateEntry):
    """The state of a training. The trainer sets the first group of fields, `save_checkpoint` the second."""

    step: Count  # optimizer steps, including skipped ones
    cursor: Count  # training rows consumed or skipped since the start
    skipped_steps: Count = 0
    samples: Count = 0  # rows trained on
    tokens: Count = 0  # tokens trained on
    time_s: Annotated[float, Field(ge=0.0)] = 0.0  # seconds of training, over all starts
    slow_s: Annotated[float, Field(ge=0.0)] = 0.0  # of time_s: the first step of each start, which compiles kernels
    slow_rows: Count = 0  # the rows of these steps
    learning_rate: Annotated[float, Field(ge=0.0)] = 0.0  # of the last step; 0: not known
    skipped: list[RowRange] = []  # ranges of rows skipped after faults: first row, and first row after the range
    losses: RunningLoss = RunningLoss()  # reference for detecting loss spikes
    dataset: str = ""  # digest of the data set that the cursor refers to
    recipe: dict[str, Any] = {}
    changes: list[str] = []  # of the settings of the optimizer, each from a resumed step on

    format_version: int = FORMAT_VERSION
    optimizer_steps: Count = 0  # AdamW's t: steps that were not skipped
    loss_scale: Annotated[float, Field(gt=0.0)] = 1.0  # of the next step; 1 except in fp16
    world_size: Size = 1
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    parameters: Shapes = {}
    files: list[FileEntry] = []

    @model_validator(mode="after")
    def _skipped_ranges_ascend(self) -> TrainingState:
        rows = [row for pair in self.skipped for row in pair]
        if any(row < 0 for row in rows) or rows != sorted(set(rows)):
            raise ValueError("the skipped ranges of rows are not ascending")
        return self

    @model_validator(mode="after")
    def _steps_add_up(self) -> TrainingState:
        if self.skipped_steps > self.step:
            raise ValueError(f"{self.skipped_steps} skipped steps of {self.step}")
        return self


def check_model(state: TrainingState, model: ModelConfig, place: Path) -> None:
    """Raise `UserError` if a state was saved with another model, e.g. because the recipe at `place` was edited."""
    then, now = state.recipe.get("model", {}), model.model_dump(mode="json")
    for name in sorted(then.keys() & now.keys() - TRAINING_FIELDS):
        if then[name] != now[name]:
            cause = f"model.{name} is {now[name]}, but {then[name]} in the checkpoint of step {state.step}"
            raise UserError(cause, place=str(place), fix=f"set model.{name} back to {then[name]}")


def changes_since(state: TrainingState, optimizer: OptimizerConfig) -> list[str]:
    """Return the run's changes of its optimizer's settings: those that the state records, and those made now."""
    then, now = state.recipe.get("optimizer", {}), optimizer.model_dump(mode="json")
    changed = [name for name in now if name in then and then[name] != now[name]]
    return [
        *state.changes,
        *(f"from step {state.step + 1}: optimizer.{name} {then[name]} -> {now[name]}" for name in changed),
    ]


def state_text(state: TrainingState) -> str:
    """Return the content of `state.json`: the state and its digest."""
    fields = state.model_dump(mode="json")
    return json.dumps(fields | {DIGEST: digest_of(fields)}, indent=1) + "\n"


def read_state(folder: Path) -> TrainingState:
    """Read a checkpoint's state.json.

    Raises `UserError` if it is missing, damaged, of another format version, or of another step than its folder's name.
    """
    path = folder / STATE
    try:
        fields = parse_object(read_bounded(path))
    except OSError as error:
        raise UserError(f"no checkpoint: {STATE}: {error.strerror}", place=str(folder), fix=fix_of(folder)) from error
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    version, digest = fields.get("format_version"), fields.pop(DIGEST, None)
    if digest is not None and digest != digest_of(fields):
        raise _damaged(folder, "its values differ from its digest")
    if version not in READABLE:
        cause = f"format version {version}, but this bertrain reads {' and '.join(map(str, READABLE))}"
        raise UserError(cause, place=str(path), fix=fix_of(folder))
    if digest is None and version != 1:
        raise _damaged(folder, "it has no digest")
    return _validated(folder, fields)


def fix_of(folder: Path) -> str:
    """Return the fix for a checkpoint that cannot be used, or for the folder of checkpoints without one that can."""
    run = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder.parent
    if not (run / RECIPE).is_file():
        return "restore it from a copy, or give another checkpoint"
    again = shlex.join(["bertrain", "train", str(run), "--resume", "never"])
    return f"restore it from a copy, give another checkpoint, or start again from step 0: `{again}`"


def _validated(folder: Path, fields: dict[str, Any]) -> TrainingState:
    try:
        state = TrainingState.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(folder, f"{'.'.join(map(str, first['loc'])) or STATE}: {first['msg']}") from error
    if state.step != step_of(folder.absolute().name):
        raise _damaged(folder, f"it is of step {state.step}, which is not the step in its folder's name")
    return state


def _damaged(folder: Path, detail: str) -> UserError:
    return UserError(f"{STATE} is damaged: {detail}", place=str(folder), fix=fix_of(folder))
