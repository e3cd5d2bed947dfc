"""A run from left to right through the commands: export, import, fill, senses, embed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from configs.recipe import load_recipe
from launch.commands.transfer import senses
from launch.transfer.huggingface import import_model, run_export
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.filling import Filler
from tests.pretrain.runs import MODERN, VOCAB, some_model, write_run

LEFT = {"attention": "left_to_right"}
KINDS = {
    "BertLMHeadModel": LEFT,
    "MegatronBertForCausalLM": LEFT | {"norm": "pre"},
    "ModernBertDecoderForCausalLM": MODERN | LEFT,
}


def left_run(folder: Path, name: str, **changes: object) -> Path:
    fields = KINDS[name] | changes
    return write_run(folder, some_model(objective="none", **fields), **fields)


@pytest.mark.parametrize("name", KINDS)
def test_an_export_is_verified_and_continued_by_transformers(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = left_run(tmp_path, name)
    run_export(run, tmp_path / "out")
    assert "on 16 real rows differ by at most" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "next-token loss" in card
    assert "text-generation" in card
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [name]
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    theirs.eval()
    begun = torch.tensor([[VOCAB.ids[piece] for piece in ("[CLS]", "the", "river")]])
    with torch.no_grad():
        scores = theirs(input_ids=begun).logits[0, -1].softmax(-1)
    for place in (run, tmp_path / "out"):
        (ours,) = Filler(load_pretrained(place)).fill("the river [MASK] bank", 5)
        assert ours.pieces == [VOCAB.pieces[piece] for piece in scores.topk(5).indices.tolist()]
        assert ours.probabilities == pytest.approx(scores.topk(5).values.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_an_imported_model_gives_the_recipe_its_attention(tmp_path: Path, name: str) -> None:
    run_export(left_run(tmp_path, name), tmp_path / "out")
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=32", "data.objective=none"]
    import_model(tmp_path / "out", "demo", overrides, None)
    assert load_recipe(tmp_path / "domain").model.attention == "left_to_right"


def test_senses_of_every_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    senses(left_run(tmp_path, "BertLMHeadModel", max_position_embeddings=200))
    assert "bank in 24 sentences" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["BertLMHeadModel", "ModernBertDecoderForCausalLM"])
def test_an_encoder_for_onnx_and_sentence_transformers_is_verified(tmp_path: Path, name: str) -> None:
    from sentence_transformers import SentenceTransformer

    run_export(left_run(tmp_path, name), tmp_path / "out", sentence_transformers=True, onnx=True)
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["the river bank"]).shape == (1, 16)
