"""Whether the configuration, the weights and the vocabulary of a Hugging Face folder belong together."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import UserError
from configs.schema import ModelConfig
from preprocessing.vocabulary import Vocabulary
from pretrain.huggingface import modernbert_names as modern
from pretrain.huggingface.conversion import OPTIONAL_PARTS, TIED, layers_of, to_hugging_face
from pretrain.model import BertForPreTraining

MOST_PADDING = 1024  # rows of the embeddings beyond the vocabulary: more are another model's vocabulary
PARTS = {"bert.pooler": "pooler", "masked_lm": "masked-LM head", "next_sentence": "next-sentence head"}
_BUFFERS = re.compile(r"bert\.embeddings\.(position_ids|token_type_ids)")
_FIX = "give the config.json that belongs to the weights"

logger = logging.getLogger(__name__)


def check_weights(state: Mapping[str, Tensor], config: ModelConfig, vocabulary_size: int) -> None:
    """Raise `UserError` unless the weights, under Hugging Face's current names, have the configuration's shapes.

    Quantised weights are refused, since without their scales they are other numbers, and so are weights of the encoder
    that the configuration does not describe. Weights of other heads are not used; a warning names them.
    """
    expected = _expected_shapes(config, vocabulary_size)
    layers = layers_of(state)
    if layers and layers != config.num_hidden_layers:
        cause = f"the weights have {layers} layers, but config.json has {config.num_hidden_layers}"
        raise UserError(cause, fix=f"{_FIX}: num_hidden_layers {layers}")
    for name, weight in state.items():
        if name in expected and weight.numel() and tuple(weight.shape) != expected[name]:
            cause = f"`{name}` has the shape {list(weight.shape)}, but config.json gives {list(expected[name])}"
            raise UserError(cause, fix=_FIX)
        if name in expected and not weight.is_floating_point():
            cause = f"`{name}` has the type {str(weight.dtype).removeprefix('torch.')}, not a floating-point one"
            raise UserError(cause, fix="give the model before its quantisation")
    unused = [
        name
        for name in state
        if name not in expected and name not in TIED | modern.TIED and not _BUFFERS.fullmatch(name)
    ]
    alien = [name for name in unused if name.startswith(("bert.encoder.", "bert.embeddings.", "model."))]
    if alien:
        raise UserError(f"`{alien[0]}` is not a weight of BERT's encoder", fix="give a model with BERT's encoder")
    if unused:
        logger.warning("weights that are not used: %s%s", ", ".join(unused[:5]), " …" if len(unused) > 5 else "")


def check_vocabulary(vocabulary: Vocabulary, rows: int) -> int:
    """Return the number of rows of the embeddings to cut off: those beyond the vocabulary, which are padding.

    Raises `UserError` if the vocabulary is that of another model.
    """
    padding = rows - len(vocabulary)
    if not 0 <= padding <= MOST_PADDING:
        cause = f"the vocabulary has {len(vocabulary):,} word pieces, but the weights have {rows:,}"
        raise UserError(cause, fix="give a folder whose tokenizer belongs to its model")
    if padding:
        logger.warning("%d rows of the embeddings beyond the %d word pieces are cut off", padding, len(vocabulary))
    return padding


def without_padding(weights: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return our weights with the first `size` rows of those that have one row per word piece."""
    per_piece = ("bert.embeddings.word.weight", "masked_lm.decoder.bias")
    return {name: weight[:size].clone() if name in per_piece else weight for name, weight in weights.items()}


def warn_of_missing_parts(weights: Mapping[str, Tensor], config: ModelConfig, place: Path) -> None:
    """Name the parts that the model lacks: a command that needs one initialises it at random.

    ModernBERT has no next-sentence head, and its pooler starts as the masked-LM head's first layers.
    """
    parts = ("masked_lm",) if config.is_modern else OPTIONAL_PARTS
    missing = [PARTS[part] for part in parts if not any(name.startswith(part) for name in weights)]
    if missing:
        logger.warning("%s: not in the model, initialised at random where needed: %s", place, ", ".join(missing))


def _expected_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = BertForPreTraining(config, vocabulary_size, "none" if config.is_modern else "nsp")
    theirs = to_hugging_face(dict(model.named_parameters()), left_to_right=config.is_left_to_right)
    return {name: tuple(weight.shape) for name, weight in theirs.items()}
