"""Reading and writing of Hugging Face folders: BERT's configuration, weights and vocabulary.

    config.json  model.safetensors  vocab.txt  tokenizer.json  tokenizer_config.json

Weights are read from safetensors only: the older `pytorch_model.bin` is a pickle, which can run arbitrary code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from configs.errors import UserError
from configs.files import give_default_mode
from configs.records import parse_object
from configs.schema import ModelConfig
from preprocessing.dataset import VOCABULARY
from preprocessing.vocabulary import CLS, MASK, PAD, SEP, SPECIAL_TOKENS, UNK, Vocabulary
from pretrain.huggingface.conversion import (
    from_hugging_face,
    from_hugging_face_config,
    to_hugging_face,
    to_hugging_face_config,
)
from pretrain.model import Batch, BertForPreTraining

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def write_hugging_face_folder(
    folder: Path,
    config: ModelConfig,
    vocabulary: Vocabulary,
    weights: Mapping[str, Tensor],
    head: Mapping[str, Tensor] | None = None,
    **fields: object,
) -> None:
    """Write our fp32 `weights` in Hugging Face's form into `folder`, which must exist.

    The weights of a task's `head` keep their names; `fields` are added to config.json.
    """
    both = to_hugging_face(weights) | dict(head or {})
    theirs = {name: tensor.detach().cpu().contiguous() for name, tensor in both.items()}
    save_file(theirs, folder / WEIGHTS, metadata={"format": "pt"})
    give_default_mode(folder / WEIGHTS)
    content = to_hugging_face_config(config, len(vocabulary), vocabulary.ids[PAD])
    content |= {"architectures": [_architecture(weights)]} | fields
    _write_json(folder / CONFIG, content)
    vocabulary.write(folder / VOCABULARY)
    (folder / TOKENIZER).write_text(vocabulary.tokenizer().to_str(pretty=True) + "\n", encoding="utf-8")
    _write_json(folder / TOKENIZER_CONFIG, _tokenizer_config(vocabulary, config.max_position_embeddings))


def read_hugging_face_folder(folder: Path) -> tuple[ModelConfig, Vocabulary, dict[str, Tensor]]:
    """Read configuration, vocabulary and fp32 weights, by our names, of any model that has BERT's encoder.

    Pretraining heads can be missing; task heads are skipped. Raises `UserError` when the folder cannot be used.
    """
    try:
        config, size = from_hugging_face_config(_read_json(folder / CONFIG))
        weights = from_hugging_face(_read_weights(folder))
    except UserError as error:
        raise UserError(error.cause, place=error.place or str(folder), fix=error.fix) from error
    vocabulary = _read_vocabulary(folder)
    rows = len(weights["bert.embeddings.word.weight"])
    if not len(vocabulary) == size == rows:
        cause = f"the vocabulary has {len(vocabulary)} word pieces, config.json {size}, the weights {rows}"
        raise UserError(cause, place=str(folder), fix="give a folder whose tokenizer belongs to its model")
    return config, vocabulary, weights


@torch.no_grad()
def largest_difference(folder: Path, model: BertForPreTraining, batch: Batch) -> float:
    """Return the largest absolute difference between the outputs of transformers on `folder` and of `model`.

    Compares all hidden states, word scores and next-sentence scores on `batch`. Computes in double precision, so that
    the result shows a difference of the models and not of the order of floating-point additions.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs: nn.Module = transformers.AutoModelForPreTraining.from_pretrained(folder, dtype=torch.float64)
    theirs.eval()
    ours = model.double().eval()
    inputs = padded(batch)
    is_token, masked = inputs["attention_mask"].bool(), batch.masked_positions
    expected = theirs(**inputs, output_hidden_states=True)
    mlm_logits, nsp_logits = ours.logits(batch)
    hidden_states = [state[is_token] for state in expected.hidden_states]
    pairs = list(zip(ours.bert.hidden_states(batch), hidden_states, strict=True))
    pairs.append((mlm_logits, expected.prediction_logits[is_token][masked]))
    if nsp_logits is not None:
        pairs.append((nsp_logits, expected.seq_relationship_logits))
    return max(float((mine - other).abs().max()) for mine, other in pairs)


def padded(batch: Batch) -> dict[str, Tensor]:
    """Return the batch in transformers' form: input_ids, token_type_ids and attention_mask, [B, L] each."""
    lengths = batch.offsets.diff().tolist()
    columns = {"input_ids": batch.input_ids, "token_type_ids": batch.token_type_ids}
    columns |= {"attention_mask": torch.ones_like(batch.input_ids)}
    return {
        name: pad_sequence(list(torch.split(column, lengths)), batch_first=True) for name, column in columns.items()
    }


def _architecture(weights: Mapping[str, Tensor]) -> str:
    family = "MegatronBert" if "bert.norm.weight" in weights else "Bert"
    if "masked_lm.dense.weight" not in weights:
        return f"{family}Model"
    return f"{family}ForPreTraining" if "next_sentence.weight" in weights else f"{family}ForMaskedLM"


def _tokenizer_config(vocabulary: Vocabulary, max_length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": vocabulary.lowercase,
        "model_max_length": max_length,
        "strip_accents": vocabulary.strip_accents,
        "tokenize_chinese_chars": True,
        "cls_token": CLS,
        "mask_token": MASK,
        "pad_token": PAD,
        "sep_token": SEP,
        "unk_token": UNK,
    }


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights from one file, or from the several files of a large model."""
    paths = sorted(folder.glob("model*.safetensors"))
    if not paths:
        fix = "save the model with `save_pretrained(folder)`, which writes safetensors"
        raise UserError(f"no {WEIGHTS}", place=str(folder), fix=fix)
    weights: dict[str, Tensor] = {}
    for path in paths:
        try:
            weights |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read: {error}", place=str(path), fix="download the file again") from error
    return {name: weight.float() if weight.is_floating_point() else weight for name, weight in weights.items()}


def _read_vocabulary(folder: Path) -> Vocabulary:
    """Read vocab.txt, or tokenizer.json if there is no vocab.txt."""
    tokenizer = _read_json(folder / TOKENIZER) if (folder / TOKENIZER).is_file() else {}
    normalizer = _object(tokenizer.get("normalizer"))
    settings = _read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    lowercase = bool(settings.get("do_lower_case", normalizer.get("lowercase", True)))
    strip_accents = settings.get("strip_accents", normalizer.get("strip_accents"))
    if (folder / VOCABULARY).is_file():
        return Vocabulary.read(folder / VOCABULARY, lowercase, strip_accents)
    model = _object(tokenizer.get("model"))
    ids = _object(model.get("vocab"))
    pieces = tuple(sorted(ids, key=lambda piece: str(ids[piece]).zfill(20)))
    are_ids = [ids[piece] for piece in pieces] == list(range(len(pieces)))
    if model.get("type") != "WordPiece" or not are_ids or not set(SPECIAL_TOKENS) <= set(pieces):
        fix = "give a folder with BERT's vocab.txt, or a tokenizer.json with a WordPiece model"
        raise UserError("no WordPiece vocabulary", place=str(folder), fix=fix)
    return Vocabulary(pieces, lowercase, strip_accents)


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one in place of null and of any other value."""
    return value if isinstance(value, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_bytes())
    except OSError as error:
        fix = "give a folder in Hugging Face's form, or a run"
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix=fix) from error
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=str(path), fix="download the file again") from error


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
