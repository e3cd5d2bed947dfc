"""The weights in a Hugging Face folder: one file, or the shards that an index lists.

safetensors files are preferred, as by transformers. The older `pytorch_model.bin` is a pickle, which can run arbitrary
code: torch loads it with `weights_only`, which admits tensors and plain containers only.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, read_bounded
from configs.records import parse_object

WEIGHTS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
_OF_OTHER_LIBRARIES = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "bert_model.ckpt.index")
_LFS_POINTER = b"version https://git-lfs"
_DOWNLOAD = "download the file again"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder, in fp32. Raises `UserError` if a file or one of its weights is missing."""
    for name in (WEIGHTS, PICKLE):
        if (folder / name).is_file():
            return _in_fp32(_read_file(folder / name))
        if (folder / f"{name}{INDEX}").is_file():
            return _in_fp32(_read_shards(folder, folder / f"{name}{INDEX}"))
    raise _no_weights(folder)


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    """Read the shards that the index lists. Each must be there, and hold the weights that the index says."""
    shard_of = _weight_map(index)
    names = sorted(set(shard_of.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        cause = f"{len(missing)} of {len(names)} shards that {index.name} lists are missing: {', '.join(missing)}"
        raise UserError(cause, place=str(folder), fix="download the missing files")
    weights: dict[str, Tensor] = {}
    for name in names:
        weights |= _read_file(folder / name)
    lost = [weight for weight in shard_of if weight not in weights]
    if lost:
        cause = f"`{lost[0]}` is not in {shard_of[lost[0]]}, where {index.name} says it is"
        raise UserError(cause, place=str(folder), fix="download the folder again")
    return weights


def _weight_map(index: Path) -> dict[str, str]:
    try:
        shard_of = dict(parse_object(read_bounded(index, MOST_MODEL_BYTES))["weight_map"])
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(index), fix=_DOWNLOAD) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("not an index of weights", place=str(index), fix=_DOWNLOAD) from error
    outside = [name for name in shard_of.values() if not isinstance(name, str) or Path(name).name != name]
    if outside or not shard_of:
        cause = f"lists {outside[0]!r}, which is not a file of this folder" if outside else "lists no weights"
        raise UserError(cause, place=str(index), fix=_DOWNLOAD)
    return shard_of


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as stream:
            is_pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
        if is_pointer:
            fix = "run `git lfs pull` in the folder, or download the file again"
            raise UserError("holds a Git LFS pointer instead of the weights", place=str(path), fix=fix)
        weights: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read: {error}", place=str(path), fix=_DOWNLOAD) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        cause = "cannot read it as plain tensors: it is damaged, or holds other objects, which could run code"
        raise UserError(cause, place=str(path), fix="save the model as safetensors with transformers") from error
    if not isinstance(weights, dict) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        cause = "not a table of tensors by name"
        raise UserError(cause, place=str(path), fix="save the model with `save_pretrained(folder)`")
    return weights


def _in_fp32(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.float() if weight.is_floating_point() else weight for name, weight in weights.items()}


def _no_weights(folder: Path) -> UserError:
    fix = "save the model with `save_pretrained(folder)`, which writes safetensors"
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    if shards:
        cause = f"{shards[0]} is a shard, but {WEIGHTS}{INDEX}, which lists the shards, is missing"
        return UserError(cause, place=str(folder), fix="download it")
    others = [name for name in _OF_OTHER_LIBRARIES if (folder / name).is_file()]
    found = f"; {others[0]} is of another library" if others else ""
    return UserError(f"no {WEIGHTS} and no {PICKLE}{found}", place=str(folder), fix=fix)
