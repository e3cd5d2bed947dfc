"""A ModernBERT run through the commands: export, import, fill, senses, embed, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import transformers

from configs.errors import UserError
from configs.recipe import load_recipe
from launch.commands.transfer import embed, senses
from launch.transfer.huggingface import export_run, import_model, run_export
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.filling import Filler
from tests.pretrain.runs import MODERN, some_model, write_run


def modern_run(folder: Path, **changes: object) -> Path:
    fields = MODERN | changes
    return write_run(folder, some_model(objective="none", **fields), **fields)


@pytest.mark.parametrize("changes", [{}, {"decoder_bias": False, "global_attention_every_n_layers": 1}])
def test_an_export_is_verified_and_filled_by_transformers(
    tmp_path: Path, changes: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = modern_run(tmp_path, **changes)
    run_export(run, tmp_path / "out")
    assert "on 16 real rows differ by at most" in capsys.readouterr().out
    assert "ModernBERT encoder" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["ModernBertForMaskedLM"]
    text = "the [MASK] film"
    theirs = transformers.pipeline("fill-mask", model=str(tmp_path / "out"))(text)
    for place in (run, tmp_path / "out"):
        (ours,) = Filler(load_pretrained(place)).fill(text, 5)
        assert ours.pieces == [each["token_str"] for each in theirs]
        assert ours.probabilities == pytest.approx([each["score"] for each in theirs], abs=1e-5)


def test_an_imported_model_gives_the_recipe_its_architecture(tmp_path: Path) -> None:
    export_run(modern_run(tmp_path), tmp_path / "out")
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=32", "data.objective=none"]
    import_model(tmp_path / "out", "demo", overrides, None)
    recipe = load_recipe(tmp_path / "domain")
    model = recipe.model
    assert (model.architecture, model.local_attention, model.layer_norm_eps) == ("modernbert", 6, 1e-5)
    assert "local_attention = 6" in (tmp_path / "domain" / "recipe.toml").read_text()


def test_an_import_into_a_recipe_with_sentence_pairs_is_refused(tmp_path: Path) -> None:
    export_run(modern_run(tmp_path), tmp_path / "out")
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=32", "data.max_predictions_per_seq=5"]
    with pytest.raises(UserError, match=r'the recipe does not suit the model: .*set data\.objective to "none"'):
        import_model(tmp_path / "out", "demo", overrides, None)


def test_features_and_senses_of_every_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = modern_run(tmp_path, max_position_embeddings=200)
    (tmp_path / "texts.txt").write_text("good film\nthe cat\n")
    embed(run, tmp_path / "texts.txt", output=tmp_path / "all.npz", layers="all", max_length=16)
    assert sorted(np.load(tmp_path / "all.npz")) == [f"layer_{layer}" for layer in range(5)]
    senses(run)
    assert "bank in 24 sentences" in capsys.readouterr().out
