"""Reading and writing of Hugging Face folders: BERT's configuration, weights and vocabulary.

    config.json  model.safetensors  vocab.txt (of BERT's tokenizer)  tokenizer.json  tokenizer_config.json

A folder is believed as a whole or refused: its files must agree, and what is left out or cut off is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from configs.errors import UserError
from configs.files import give_default_mode
from configs.schema import ModelConfig
from preprocessing.vocabulary import CLS, MASK, PAD, SEP, UNK, Vocabulary
from pretrain.huggingface.agreement import check_vocabulary, check_weights, warn_of_missing_parts, without_padding
from pretrain.huggingface.configuration import (
    causal_architecture,
    family_of,
    from_hugging_face_config,
    to_hugging_face_config,
)
from pretrain.huggingface.conversion import current_names, from_hugging_face, to_hugging_face
from pretrain.huggingface.json_files import read_json, write_json
from pretrain.huggingface.tokenizer_files import read_tokenizer
from pretrain.huggingface.tokenizer_settings import CONFIG, TOKENIZER, TOKENIZER_CONFIG, UNSTATED, Casing
from pretrain.huggingface.weight_files import WEIGHTS, read_weights
from pretrain.model import Batch, BertForPreTraining

GOOGLES_CONFIG = "bert_config.json"


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
    if head is None and config.is_modern:  # there a pooler belongs to a task's head
        weights = {name: weight for name, weight in weights.items() if not name.startswith("bert.pooler")}
    both = to_hugging_face(weights, left_to_right=config.is_left_to_right) | dict(head or {})
    theirs = {name: tensor.detach().cpu().contiguous() for name, tensor in both.items()}
    save_file(theirs, folder / WEIGHTS, metadata={"format": "pt"})
    give_default_mode(folder / WEIGHTS)
    content = to_hugging_face_config(config, len(vocabulary), vocabulary.id_of(PAD))
    if config.is_modern:  # whose configuration has defaults for the ids of its published vocabulary
        roles = {"bos": CLS, "eos": SEP, "cls": CLS, "sep": SEP}
        content |= {f"{role}_token_id": vocabulary.id_of(special) for role, special in roles.items()}
    content |= {"architectures": [_architecture(weights, config)]} | fields
    write_json(folder / CONFIG, content)
    vocabulary.write(folder / vocabulary.file)
    if not vocabulary.source:
        (folder / TOKENIZER).write_text(vocabulary.tokenizer().to_str(pretty=True) + "\n", encoding="utf-8")
    write_json(folder / TOKENIZER_CONFIG, _tokenizer_config(vocabulary, config))


def read_hugging_face_folder(
    folder: Path, unstated: Casing = UNSTATED
) -> tuple[ModelConfig, Vocabulary, dict[str, Tensor]]:
    """Read configuration, vocabulary and fp32 weights, by our names, of any model that has BERT's encoder.

    Pretraining heads can be missing; task heads are skipped; warnings name both. `unstated` is the casing of a folder
    whose files state none. Raises `UserError` when the folder cannot be used, or when its files contradict each other.
    """
    try:
        config, size = from_hugging_face_config(read_json(config_of(folder) or folder / CONFIG))
        state = current_names(read_weights(folder))
        check_weights(state, config, size)
        weights = from_hugging_face(state, decoder_bias=config.decoder_bias)
        vocabulary = read_tokenizer(folder, size, unstated)
        if check_vocabulary(vocabulary, size):
            weights = without_padding(weights, len(vocabulary))
    except UserError as error:
        raise UserError(error.cause, place=error.place or str(folder), fix=error.fix) from error
    warn_of_missing_parts(weights, config, folder)
    return config, vocabulary, weights


def config_of(folder: Path) -> Path | None:
    """Return the folder's configuration file, also by the name in Google's releases; None if there is none."""
    return next((folder / name for name in (CONFIG, GOOGLES_CONFIG) if (folder / name).is_file()), None)


@torch.no_grad()
def largest_difference(folder: Path, model: BertForPreTraining, batch: Batch) -> float:
    """Return the largest absolute difference between the outputs of transformers on `folder` and of `model`.

    Compares all hidden states, word scores and next-sentence scores on `batch`. Computes in double precision, so that
    the result shows a difference of the models and not of the order of floating-point additions.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = model.bert.config
    if config.is_left_to_right:
        kind: Any = transformers.AutoModelForCausalLM
    else:
        kind = transformers.AutoModelForMaskedLM if config.is_modern else transformers.AutoModelForPreTraining
    theirs: nn.Module = kind.from_pretrained(folder, dtype=torch.float64)
    theirs.eval()
    ours = model.double().eval()
    inputs = padded(batch)
    if not config.has_segments:
        del inputs["token_type_ids"]
    is_token, masked = inputs["attention_mask"].bool(), batch.masked_positions
    expected = theirs(**inputs, output_hidden_states=True)
    mlm_logits, nsp_logits = ours.logits(batch)
    hidden_states = [state[is_token] for state in expected.hidden_states]
    pairs = list(zip(ours.bert.hidden_states(batch), hidden_states, strict=True))
    has_one_head = config.is_modern or config.is_left_to_right
    word_scores = expected.logits if has_one_head else expected.prediction_logits
    pairs.append((mlm_logits, word_scores[is_token][masked]))
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


def _architecture(weights: Mapping[str, Tensor], config: ModelConfig) -> str:
    family = family_of(config)
    if "masked_lm.dense.weight" not in weights:
        return f"{family}Model"
    if config.is_left_to_right:
        return causal_architecture(config)
    return f"{family}ForPreTraining" if "next_sentence.weight" in weights else f"{family}ForMaskedLM"


def _tokenizer_config(vocabulary: Vocabulary, config: ModelConfig) -> dict[str, Any]:
    names = ["input_ids", *["token_type_ids"] * config.has_segments, "attention_mask"]
    of_any = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    of_bert = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": vocabulary.lowercase,
        "strip_accents": vocabulary.strip_accents,
        "tokenize_chinese_chars": True,
    }
    return {
        **(of_any if vocabulary.source else of_bert),
        "model_max_length": config.max_position_embeddings,
        "cls_token": vocabulary.name_of(CLS),
        "mask_token": vocabulary.name_of(MASK),
        "pad_token": vocabulary.name_of(PAD),
        "sep_token": vocabulary.name_of(SEP),
        "unk_token": vocabulary.name_of(UNK),
        **({"model_input_names": names} if vocabulary.source or not config.has_segments else {}),
    }
