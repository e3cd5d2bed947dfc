"""A run's encoder as an ONNX file, which ONNX Runtime and other programs run without PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import UserError
from configs.machine import require_package
from pretrain.huggingface import padded
from pretrain.model import Batch

ONNX_FOLDER, ONNX_FILE = "onnx", "model.onnx"  # where the Hub and Optimum look
TOLERANCE = 1e-4  # of hidden states in single precision: the order of additions differs


class _LastHiddenState(nn.Module):
    """A transformers encoder with tensors in, and the last layer's hidden states out."""

    def __init__(self, encoder: Any, names: list[str]) -> None:
        super().__init__()
        self.encoder, self.names = encoder, names

    def forward(self, *inputs: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(**dict(zip(self.names, inputs, strict=True))).last_hidden_state
        return hidden


@torch.no_grad()
def write_onnx(folder: Path, batch: Batch, *, has_segments: bool) -> float:
    """Write onnx/model.onnx into a Hugging Face folder, and compare ONNX Runtime's hidden states with PyTorch's.

    The inputs are input_ids, attention_mask and, for a model with segments, token_type_ids: int64 [batch, length], both
    free. The output is last_hidden_state: fp32 [batch, length, hidden size]. Returns the largest difference of it on
    `batch`.

    Raises `UserError` if a package of the extra `onnx` is missing, or if the difference is above 1e-4.
    """
    for package in ("transformers", "onnxscript", "onnx", "onnxruntime"):
        require_package(package)
    import onnxruntime  # type: ignore[import-untyped]  # comes without types

    inputs = padded(batch)
    if not has_segments:
        del inputs["token_type_ids"]
    encoder = _LastHiddenState(_encoder(folder), list(inputs)).eval()
    place = folder / ONNX_FOLDER / ONNX_FILE
    place.parent.mkdir()
    _export(encoder, inputs, place)
    session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    differences = (encoder(*inputs.values()) - torch.from_numpy(theirs)).abs()
    difference = float(differences[inputs["attention_mask"].bool()].max())
    if not difference <= TOLERANCE:
        cause = f"ONNX Runtime's hidden states differ by {difference:.2e}, more than {TOLERANCE:.0e}"
        raise UserError(cause, place=str(folder), fix="export without --onnx; please report this")
    return difference


def _export(encoder: _LastHiddenState, inputs: dict[str, Tensor], place: Path) -> None:
    longest = encoder.encoder.config.max_position_embeddings
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=2, max=longest)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            encoder,
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=["last_hidden_state"],
            dynamic_shapes=((axes,) * len(inputs),),
        )
    assert program is not None
    program.save(place)


def _encoder(folder: Path) -> Any:
    """Return transformers' encoder in single precision, with attention in plain operations, which ONNX has."""
    import transformers

    encoder = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return encoder.eval()
