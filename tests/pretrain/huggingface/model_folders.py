"""Model folders of other origin, as transformers writes them and as people publish them.

Each maker writes one folder and returns transformers' model, whose outputs ours must have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.pretrain.runs import VOCAB

Maker = Callable[[Path], Any]
FIELDS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
    "initializer_range": 0.2,
}
CASED = tuple(piece.capitalize() if piece.isalpha() and len(piece) > 1 else piece for piece in VOCAB.pieces)


def model_of(kind: str = "BertForPreTraining", **fields: Any) -> Any:
    """Return a model of transformers with random weights and biases, so that a test detects a lost one."""
    torch.manual_seed(3)
    config = "MegatronBertConfig" if kind.startswith("Megatron") else "BertConfig"
    settings = getattr(transformers, config)(**{"vocab_size": len(VOCAB), **FIELDS, **fields})
    model = getattr(transformers, kind)(settings).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model


def write_tokenizer(folder: Path, pieces: tuple[str, ...] = VOCAB.pieces, **settings: Any) -> None:
    """Write tokenizer.json and tokenizer_config.json as transformers does."""
    ids = {piece: number for number, piece in enumerate(pieces)}
    transformers.BertTokenizer(vocab=ids, **settings).save_pretrained(folder)


def write_text_vocabulary(folder: Path, pieces: Sequence[str] = VOCAB.pieces, **settings: Any) -> None:
    """Write vocab.txt and, if there are settings, tokenizer_config.json, as in older folders."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def change_json(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Rewrite model.safetensors."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def plain(folder: Path) -> Any:
    model = model_of()
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def sharded(folder: Path) -> Any:
    model = model_of()
    model.save_pretrained(folder, max_shard_size="4KB")
    write_tokenizer(folder)
    return model


def bare_encoder(folder: Path) -> Any:
    model = model_of("BertModel")
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def without_pooler(folder: Path) -> Any:
    model = model_of("BertForMaskedLM")
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def with_a_classifier(folder: Path) -> Any:
    model = model_of("BertForSequenceClassification", num_labels=3)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def megatron(folder: Path) -> Any:
    model = model_of("MegatronBertForPreTraining")
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def half_precision(folder: Path) -> Any:
    model = model_of()
    model.half().save_pretrained(folder)
    write_tokenizer(folder)
    return model.float()


def brain_float(folder: Path) -> Any:
    model = model_of()
    model.bfloat16().save_pretrained(folder)
    write_tokenizer(folder)
    return model.float()


def pickled(folder: Path) -> Any:
    """As BioBERT and Bio_ClinicalBERT are published: a pickle of the first format, and no tokenizer settings."""
    model = model_of()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    write_text_vocabulary(folder)
    return model


def pickled_shards(folder: Path) -> Any:
    model = model_of()
    model.config.save_pretrained(folder)
    state = list(model.state_dict().items())
    shards = {"pytorch_model-00001-of-00002.bin": state[:9], "pytorch_model-00002-of-00002.bin": state[9:]}
    for name, items in shards.items():
        torch.save(dict(items), folder / name)
    names = {weight: name for name, items in shards.items() for weight, _ in items}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    write_tokenizer(folder)
    return model


def _with_old_names(folder: Path) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name.replace(*next((o for o in old.items() if o[0] in name), ("", ""))): w for name, w in weights.items()
        }

    change_weights(folder, rename)


def old_names(folder: Path) -> Any:
    model = plain(folder)
    _with_old_names(folder)
    return model


def bare_encoder_of_old_names(folder: Path) -> Any:
    model = bare_encoder(folder)
    _with_old_names(folder)
    return model


def _with_prefix(folder: Path, prefix: str) -> None:
    change_weights(folder, lambda weights: {f"{prefix}{name}": weight for name, weight in weights.items()})


def wrapped(folder: Path) -> Any:
    """With the names of a model inside DataParallel, and of the first releases."""
    model = old_names(folder)
    _with_prefix(folder, "module.")
    return model


def compiled_bare_encoder(folder: Path) -> Any:
    """With the names of an encoder that torch.compile and DistributedDataParallel wrapped."""
    model = bare_encoder(folder)
    _with_prefix(folder, "module._orig_mod.")
    return model


def attribute(folder: Path) -> Any:
    """With the names of a class that has the whole model as its attribute `bert`."""
    model = plain(folder)
    _with_prefix(folder, "bert.")
    return model


def attribute_beside_a_head(folder: Path) -> Any:
    """With the names of a class that has a bare encoder as its attribute `encoder`, and a head of its own."""
    model = bare_encoder(folder)
    _with_prefix(folder, "encoder.")
    change_weights(folder, lambda weights: weights | {"head.weight": torch.ones(3, 16)})
    return model


def tanh_gelu(folder: Path) -> Any:
    model = model_of(hidden_act="gelu_new")
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def megatron_with_swish(folder: Path) -> Any:
    model = model_of("MegatronBertForPreTraining", hidden_act="swish")
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def one_token_type(folder: Path) -> Any:
    model = model_of(type_vocab_size=1)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def four_token_types(folder: Path) -> Any:
    model = model_of(type_vocab_size=4)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def untied(folder: Path) -> Any:
    """With a decoder of its own, as its config.json says."""
    model = model_of(tie_word_embeddings=False)
    nn.init.normal_(model.cls.predictions.decoder.weight)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def google(folder: Path) -> Any:
    """With the fields of Google's bert_config.json alone, and that name."""
    model = plain(folder)
    config = json.loads((folder / "config.json").read_text())
    names = (
        *FIELDS,
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "type_vocab_size",
        "vocab_size",
    )
    (folder / "bert_config.json").write_text(json.dumps({name: config[name] for name in names}))
    (folder / "config.json").unlink()
    return model


def without_layer_norm_eps(folder: Path) -> Any:
    model = plain(folder)
    change_json(folder / "config.json", layer_norm_eps=None, hidden_dropout_prob=None, initializer_range=None)
    return model


def padded(folder: Path) -> Any:
    model = model_of()
    model.resize_token_embeddings(len(VOCAB), pad_to_multiple_of=64)
    assert model.config.vocab_size == 128
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def extended(folder: Path) -> Any:
    """With tokens added by transformers, in tokenizer.json alone."""
    model = model_of()
    tokenizer = transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(VOCAB.pieces)})
    tokenizer.add_tokens(["[E1]", "covid"])
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def extended_by_a_file(folder: Path) -> Any:
    """With added tokens as older folders hold them, one of them beyond a gap."""
    model = model_of(vocab_size=len(VOCAB) + 4)
    model.save_pretrained(folder)
    write_text_vocabulary(folder, do_lower_case=True)
    (folder / "added_tokens.json").write_text(json.dumps({"[E1]": len(VOCAB), "[E2]": len(VOCAB) + 3}))
    return model


def repeated_piece(folder: Path) -> Any:
    """With a vocab.txt that holds an empty line and a piece twice, of which transformers uses the last."""
    model = model_of(vocab_size=len(VOCAB) + 2)
    model.save_pretrained(folder)
    write_text_vocabulary(folder, (*VOCAB.pieces[:20], VOCAB.pieces[30], "", *VOCAB.pieces[20:]), do_lower_case=True)
    return model


def cased(folder: Path) -> Any:
    model = model_of()
    model.save_pretrained(folder)
    write_tokenizer(folder, CASED, do_lower_case=False)
    return model


def cased_without_settings(folder: Path) -> Any:
    model = model_of()
    model.save_pretrained(folder)
    write_text_vocabulary(folder, CASED)
    return model


def uncased_with_accents(folder: Path) -> Any:
    model = model_of()
    model.save_pretrained(folder)
    write_tokenizer(folder, strip_accents=False)
    return model


def generic_tokenizer(folder: Path) -> Any:
    """With a tokenizer that is BERT's by its tokenizer.json, and cased by it."""
    model = model_of()
    model.save_pretrained(folder)
    write_tokenizer(folder, do_lower_case=False)
    change_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", do_lower_case=None)
    return model


def odd_sizes(folder: Path) -> Any:
    model = model_of(hidden_size=6, intermediate_size=3, max_position_embeddings=12, num_attention_heads=2)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


MAKERS: tuple[Maker, ...] = (
    plain,
    sharded,
    bare_encoder,
    without_pooler,
    with_a_classifier,
    megatron,
    half_precision,
    brain_float,
    pickled,
    pickled_shards,
    old_names,
    bare_encoder_of_old_names,
    wrapped,
    compiled_bare_encoder,
    attribute,
    attribute_beside_a_head,
    tanh_gelu,
    megatron_with_swish,
    one_token_type,
    four_token_types,
    untied,
    google,
    without_layer_norm_eps,
    padded,
    extended,
    extended_by_a_file,
    repeated_piece,
    cased,
    cased_without_settings,
    uncased_with_accents,
    generic_tokenizer,
    odd_sizes,
)
