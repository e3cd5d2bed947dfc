from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from configs.errors import UserError
from configs.schema import ModelConfig
from preprocessing.vocabulary.vocabulary import Vocabulary
from pretrain.huggingface.folder import largest_difference, read_hugging_face_folder, write_hugging_face_folder
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch
from tests.pretrain.runs import MODEL, VOCAB, some_model

CONFIG = ModelConfig(**MODEL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_hugging_face_folder(tmp_path, CONFIG, VOCAB, dict(some_model().named_parameters()))
    return tmp_path


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors")


def change_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_folder_round_trip(folder: Path) -> None:
    config, vocabulary, weights = read_hugging_face_folder(folder)
    assert (config, vocabulary) == (CONFIG, VOCAB)
    state = some_model().state_dict()
    assert weights.keys() == state.keys() - {"masked_lm.decoder.weight"}
    assert all(torch.equal(weights[name], state[name]) for name in weights)


def test_transformers_computes_the_same_tokens_and_outputs(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "The River [MASK] wàs good?"
    assert tokenizer(text)["input_ids"] == VOCAB.tokenizer().encode(text).ids
    assert tokenizer.mask_token_id == VOCAB.ids["[MASK]"]
    assert tokenizer.model_max_length == 48
    batch = random_batch(1, 5, vocabulary_size=len(VOCAB))
    assert largest_difference(folder, some_model(), batch) < 1e-6
    assert largest_difference(folder, some_model(seed=1), batch) > 1e-2
    filled = transformers.pipeline("fill-mask", model=str(folder))("a [MASK] film")
    assert len(filled) == 5


@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, False), (False, True), (False, False)])
def test_case_and_accent_settings_round_trip(tmp_path: Path, lowercase: bool, strip_accents: bool) -> None:
    vocabulary = Vocabulary((*VOCAB.pieces, "é", "R", "##è"), lowercase, strip_accents)
    model = BertForPreTraining(CONFIG, len(vocabulary), "nsp")
    write_hugging_face_folder(tmp_path, CONFIG, vocabulary, dict(model.named_parameters()))
    assert read_hugging_face_folder(tmp_path)[1] == vocabulary
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "Rè é was Good"
    assert tokenizer(text)["input_ids"] == vocabulary.tokenizer().encode(text).ids


def test_read_folder_written_by_transformers(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    transformers.AutoModel.from_pretrained(folder).save_pretrained(again)  # a BertModel: no heads, no prefix
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(again)
    (again / "vocab.txt").unlink(missing_ok=True)  # newer releases do not write it
    config, vocabulary, weights = read_hugging_face_folder(again)
    assert (config, vocabulary) == (CONFIG, VOCAB)
    state = some_model().state_dict()
    assert weights.keys() == {name for name in state if name.startswith("bert.")}
    assert all(torch.equal(weights[name], state[name]) for name in weights)


def test_read_old_names_unknown_heads_and_half_precision(folder: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): weight.half()
            for name, weight in weights.items()
        }
        return old | {"classifier.weight": torch.ones(2, 16), "embeddings.position_ids": torch.arange(48)[None]}

    expected = load_file(folder / "model.safetensors")["bert.embeddings.LayerNorm.weight"].half().float()
    change_weights(folder, change)
    weights = read_hugging_face_folder(folder)[2]
    assert torch.equal(weights["bert.embeddings.norm.weight"], expected)
    assert not any("classifier" in name for name in weights)


def test_incomplete_head_is_left_out(folder: Path) -> None:
    change_weights(folder, lambda weights: {n: w for n, w in weights.items() if n != "cls.seq_relationship.bias"})
    weights = read_hugging_face_folder(folder)[2]
    assert "masked_lm.dense.weight" in weights
    assert not any(name.startswith("next_sentence") for name in weights)


def test_inconsistent_or_unsupported_configuration_raises(folder: Path) -> None:
    change_json(folder / "config.json", vocab_size=9)
    with pytest.raises(UserError, match=rf"has the shape \[{len(VOCAB)}, 16\], but config.json gives \[9, 16\]"):
        read_hugging_face_folder(folder)
    change_json(folder / "config.json", hidden_act="prelu")
    with pytest.raises(UserError, match="hidden_act"):
        read_hugging_face_folder(folder)


def test_incomplete_encoder_and_unreadable_files_raise(folder: Path) -> None:
    name = "bert.encoder.layer.1.output.dense.bias"
    change_weights(folder, lambda weights: {n: w for n, w in weights.items() if n != name})
    with pytest.raises(UserError, match=f"`{name}` is missing"):
        read_hugging_face_folder(folder)
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="cannot read"):
        read_hugging_face_folder(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: cannot read it as plain tensors"):
        read_hugging_face_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_hugging_face_folder(folder)


def test_folder_without_vocabulary_raises(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}')
    with pytest.raises(UserError, match='model has type "BPE"'):
        read_hugging_face_folder(folder)
