"""The tensor files of a checkpoint: named fragments, from which any rank can read the elements it needs.

A safetensors file holds one-dimensional fp32 tensors, three per fragment: `master/<parameter>@<offset>`,
`exp_avg/<parameter>@<offset>` and `exp_avg_sq/<parameter>@<offset>`. The offset is the index of the fragment's first
element in the flattened parameter. All files of a checkpoint together contain every element exactly once.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from configs.errors import UserError
from configs.files import give_default_mode
from pretrain.engine import KINDS, Fragment

FIX = "choose another checkpoint"


@dataclass(frozen=True)
class Piece:
    """Consecutive elements of a parameter, saved in an open file."""

    file: Any  # safetensors' handle, which has no type
    name: str
    offset: int
    numel: int


class SavedFragments:
    """The fragments in a checkpoint's open files."""

    def __init__(self, pieces: dict[str, list[Piece]]) -> None:
        self._pieces = pieces

    def read(self, kind: str, name: str, offset: int, into: Tensor) -> None:
        """Fill the one-dimensional `into` with the parameter's elements from `offset` on, from all pieces needed."""
        stop = offset + into.numel()
        for piece in self._pieces[name]:
            first, last = max(offset, piece.offset), min(stop, piece.offset + piece.numel)
            if first < last:
                saved = piece.file.get_slice(_key(kind, name, piece.offset))
                into[first - offset : last - offset].copy_(saved[first - piece.offset : last - piece.offset])


def write_fragments(path: Path, fragments: Sequence[Fragment]) -> None:
    """Write one rank's fragments and sync them to disk. Raises `OSError` or `SafetensorError` if that fails."""
    tensors = {_key(kind, part.name, part.offset): getattr(part, kind) for part in fragments for kind in KINDS}
    save_file(tensors, path)
    give_default_mode(path)
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextmanager
def open_fragments(paths: Sequence[Path], sizes: dict[str, int]) -> Iterator[SavedFragments]:
    """Open a checkpoint's files. Only their headers are read here.

    `sizes` are the numbers of elements of each parameter. Raises `UserError` unless every element is present exactly
    once.
    """
    pieces: defaultdict[str, list[Piece]] = defaultdict(list)
    with ExitStack() as stack:
        for path in paths:
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (OSError, SafetensorError) as error:
                raise UserError(f"cannot read: {error}", place=str(path), fix=FIX) from error
            for piece in _pieces_of(file):
                pieces[piece.name].append(piece)
        for name, size in sizes.items():
            pieces[name].sort(key=lambda piece: piece.offset)
            _check_cover(name, size, pieces[name], place=str(paths[0].parent))
        yield SavedFragments(pieces)


def _pieces_of(file: Any) -> Iterator[Piece]:
    for key in file.keys():  # noqa: SIM118 - the handle is no dictionary
        kind, _, fragment = key.partition("/")
        name, _, offset = fragment.rpartition("@")
        if kind == "master":
            yield Piece(file, name, int(offset), file.get_slice(key).get_shape()[0])


def _check_cover(name: str, size: int, pieces: list[Piece], place: str) -> None:
    covered = 0
    for piece in pieces:
        if piece.offset != covered:
            fault = f"{piece.offset} is present twice" if piece.offset < covered else f"{covered} is missing"
            raise UserError(f"parameter {name}: element {fault}", place=place, fix=FIX)
        covered += piece.numel
    if covered != size:
        raise UserError(f"parameter {name}: has {covered} elements, not {size}", place=place, fix=FIX)


def _key(kind: str, name: str, offset: int) -> str:
    return f"{kind}/{name}@{offset}"
