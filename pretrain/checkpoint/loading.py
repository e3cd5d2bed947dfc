"""Load a checkpoint at any ZeRO stage and world size."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import UserError
from pretrain.checkpoint.fragment_files import SavedFragments, open_fragments
from pretrain.checkpoint.state import Shapes, TrainingState, read_state
from pretrain.engine import KINDS, Engine, beat


def load_checkpoint(folder: Path, engine: Engine) -> TrainingState:
    """Load a checkpoint's weights and moments into the engine, from any ZeRO stage and world size. A collective.

    Each rank reads the elements that it needs from all files; `find_checkpoint` has checked their digests. Raises
    `UserError` if a parameter is missing, unknown to the model, of another shape, or not present exactly once.
    """
    state = read_state(folder)
    _check_parameters(folder, state.parameters, engine.shapes)
    with _open(folder, state) as saved:
        for fragment in engine.partition.fragments:
            beat()
            for kind in KINDS:
                saved.read(kind, fragment.name, fragment.offset, getattr(fragment, kind))
    engine.set_optimizer_steps(state.optimizer_steps)
    engine.set_loss_scale(state.loss_scale)
    engine.partition.refresh()
    return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return a checkpoint's complete fp32 parameters by name, for export, evaluation, or to initialise another run."""
    state = read_state(folder)
    weights = {name: torch.empty(shape) for name, shape in state.parameters.items()}
    with _open(folder, state) as saved:
        for name, weight in weights.items():
            saved.read("master", name, 0, weight.view(-1))
    return weights


def _open(folder: Path, state: TrainingState) -> AbstractContextManager[SavedFragments]:
    sizes = {name: math.prod(shape) for name, shape in state.parameters.items()}
    return open_fragments([folder / entry.name for entry in state.files], sizes)


def _check_parameters(folder: Path, saved: Shapes, expected: Shapes) -> None:
    differences = {
        "are missing in the checkpoint": sorted(expected.keys() - saved.keys()),
        "are missing in the model": sorted(saved.keys() - expected.keys()),
        "differ in shape": sorted(name for name in expected.keys() & saved.keys() if expected[name] != saved[name]),
    }
    for difference, names in differences.items():
        if names:
            cause = f"parameters that {difference}: {', '.join(names)}"
            raise UserError(cause, place=str(folder), fix="resume with the recipe that saved it")
