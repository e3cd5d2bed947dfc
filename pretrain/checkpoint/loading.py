"""Loading a checkpoint at any ZeRO stage and world size."""

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
    """Give the engine a checkpoint's weights and moments, whatever stage and world size saved it. Every rank calls it.

    Each rank reads what it needs of any file; `find_checkpoint` has checked the digests. `UserError` when a parameter
    is missing, not the model's, of another shape, or not there exactly once.
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
    """A checkpoint's whole parameters, fp32, by name: for export, evaluation, or the start of another run."""
    state = read_state(folder)
    weights = {name: torch.empty(shape) for name, shape in state.parameters.items()}
    with _open(folder, state) as saved:
        for name, weight in weights.items():
            saved.read("master", name, 0, weight.view(-1))
    return weights


def _open(folder: Path, state: TrainingState) -> AbstractContextManager[SavedFragments]:
    sizes = {name: math.prod(shape) for name, shape in state.parameters.items()}
    return open_fragments([folder / entry.name for entry in state.files], sizes)


def _check_parameters(folder: Path, saved: Shapes, wanted: Shapes) -> None:
    differences = {
        "the model has and the checkpoint lacks": sorted(wanted.keys() - saved.keys()),
        "the checkpoint has and the model lacks": sorted(saved.keys() - wanted.keys()),
        "differ in shape": sorted(name for name in wanted.keys() & saved.keys() if wanted[name] != saved[name]),
    }
    for difference, names in differences.items():
        if names:
            cause = f"parameters that {difference}: {', '.join(names)}"
            raise UserError(cause, place=str(folder), fix="resume with the recipe that saved it")
