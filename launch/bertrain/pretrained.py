"""Pretrained models: reading them, and writing them for Hugging Face transformers. Needs the extra `train`."""

from __future__ import annotations

from pathlib import Path

import pretrain.huggingface
from launch.transfer import Export, export_run
from pretrain.huggingface import Pretrained


def load_pretrained(place: str | Path) -> Pretrained:
    """Read a pretrained model.

    Args:
        place: a run (its newest valid checkpoint), the folder of a checkpoint, or a Hugging Face folder with a BERT.

    Returns:
        `weights` (fp32, by name), `config`, `vocabulary`, and `model(objective)`, which builds the torch module.

    Raises:
        UserError: there is no model, or the run is of version 0.1, which keeps no vocabulary, and its data set is gone.

    Examples:
        >>> model = bertrain.load_pretrained("runs/demo").model("nsp").eval()
    """
    return pretrain.huggingface.load_pretrained(Path(place))


def export(run: str | Path, output: str | Path, *, sentence_transformers: bool = False, onnx: bool = False) -> Export:
    """Write the model of a run for Hugging Face transformers, and compare its outputs with those of the original.

    Args:
        run: the folder of a run, or of one of its checkpoints.
        output: the folder to write; it must not exist.
        sentence_transformers: add the files with which sentence-transformers loads the model; a sentence is the mean of
            its tokens.
        onnx: add the encoder as onnx/model.onnx, compared with ONNX Runtime; needs the extra `onnx`.

    Returns:
        `folder`, and `largest_difference` between the outputs of transformers and ours on real rows, or None where
        transformers is not installed.

    Raises:
        UserError: there is no checkpoint, `output` exists, or outputs differ by more than 1e-5.

    Examples:
        >>> bertrain.export("runs/demo", "demo-bert")
        >>> transformers.AutoModelForPreTraining.from_pretrained("demo-bert")
    """
    return export_run(Path(run), Path(output), sentence_transformers=sentence_transformers, onnx=onnx)
