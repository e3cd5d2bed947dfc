"""Export and import, on untrained runs."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # comes without types
import pytest
import torch
from huggingface_hub import ModelCard

import launch.transfer.huggingface
from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.schema import Objective, TrainConfig
from launch.transfer.huggingface import batch_of_rows, export_run, import_model, new_pieces, run_export
from pretrain.checkpoint.state import read_state, state_text
from pretrain.data.dataset import open_dataset
from pretrain.data.run_data import RunData
from pretrain.huggingface.conversion import to_hugging_face
from pretrain.huggingface.pretrained import load_pretrained
from tests.pretrain.runs import VOCAB, some_model, write_run

FILES = ["README.md", "config.json", "curves.png", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, some_model())


def test_an_export_is_complete_and_verified(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_export(run, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [*FILES, "vocab.txt"]
    said = capsys.readouterr().out
    assert "on 16 real rows differ by at most" in said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| 7 | 0.7143 |" in card
    assert "| 8 |" not in card  # beyond the checkpoint
    assert "masked-LM loss: 2.0000 nats; unigram baseline: 4.0000" in card
    assert str(tmp_path) not in card
    titles = re.findall(r"^## (\w+)", card, re.MULTILINE)
    assert titles == ["Data", "Training", "Evaluation", "Curves", "Limits", "Recipe"]
    assert "initialised from: random weights" in card


@pytest.mark.parametrize(
    "fields", [{"hidden_act": "gelu_new", "type_vocab_size": 1}, {"hidden_act": "relu", "type_vocab_size": 4}], ids=str
)
def test_activation_and_token_types_are_exported_and_imported(
    fields: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_export(write_run(tmp_path, some_model(**fields), **fields), tmp_path / "out")
    assert "on 16 real rows differ by at most" in capsys.readouterr().out
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert {name: config[name] for name in fields} == fields
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=32", "data.max_predictions_per_seq=5"]
    import_model(tmp_path / "out", "demo", overrides, None)
    model = load_recipe(str(tmp_path / "domain")).model
    assert {name: getattr(model, name) for name in fields} == fields


def test_the_hub_reads_the_card(run: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(run / "recipe.toml"), ["license=apache-2.0"])
    write_recipe(recipe, run / "recipe.toml")
    export_run(run, tmp_path / "out")
    front = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (front.license, front.language, front.pipeline_tag) == ("apache-2.0", ["en"], "fill-mask")
    assert (front.library_name, front.datasets, front.model_name) == ("transformers", ["dataset"], recipe.name)
    assert [(one.metric_type, one.metric_value) for one in front.eval_results or ()] == [
        ("masked-LM loss (nats)", 2.0), ("masked-LM accuracy", 0.3), ("next-sentence accuracy", 0.3),
    ]  # fmt: skip


def test_the_card_states_changes_of_the_learning_rate(run: Path, tmp_path: Path) -> None:
    checkpoint, change = run / "checkpoints" / "step_00000007", "from step 3: optimizer.learning_rate 0.001 -> 0.0001"
    state = read_state(checkpoint).model_copy(update={"changes": [change]})
    (checkpoint / "state.json").write_text(state_text(state))
    run_export(run, tmp_path / "out")
    assert f"- changed: `{change}`" in (tmp_path / "out" / "README.md").read_text()


def test_the_next_step_of_a_reimported_model_has_the_same_loss(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out")
    batch = batch_of_rows(RunData.of(open_dataset(str(tmp_path / "dataset"), TrainConfig())).rows)
    assert len(batch) == 16
    assert (batch.input_ids[batch.masked_positions] == VOCAB.ids["[MASK]"]).all()
    assert (batch.token_type_ids[batch.offsets[:-1]] == 0).all()
    assert (batch.token_type_ids[batch.offsets[1:] - 1] == 1).all()
    losses = [load_pretrained(place).model("nsp").eval()(batch)[0] for place in (run, tmp_path / "out")]
    assert torch.equal(*losses)


def test_a_checkpoint_without_held_out_rows_is_exported(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model(), held_out=0)
    export_run(run / "checkpoints" / "step_00000007", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_a_data_set_at_a_url_gives_vocabulary_and_rows(run: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "dataset"), "/exported", recursive=True)
    try:
        shutil.rmtree(tmp_path / "dataset")
        overrides = ["data.dataset=memory://exported", f"train.stage_in={tmp_path / 'stage'}"]
        write_recipe(load_recipe(run, overrides), run / "recipe.toml")
        export_run(run, tmp_path / "out")
        assert load_pretrained(tmp_path / "out").vocabulary == VOCAB
    finally:
        store.rm("/exported", recursive=True)


def test_an_export_that_differs_leaves_nothing_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our reader accepts a mapping that swaps two layers' biases in both directions; transformers detects it."""

    def swapped(weights: dict[str, torch.Tensor], *, left_to_right: bool) -> dict[str, torch.Tensor]:
        changed = {other.get(name, name): weight for name, weight in weights.items()}
        return to_hugging_face(changed, left_to_right=left_to_right)

    names = [f"bert.encoder.{layer}.feed_out.bias" for layer in (0, 1)]
    other = dict(zip(names, reversed(names), strict=True))
    monkeypatch.setattr("pretrain.huggingface.folder.to_hugging_face", swapped)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match="read back differ from those written"):
        export_run(run, tmp_path / "out")
    monkeypatch.setattr(launch.transfer.huggingface, "_check_read_back", lambda *_: None)
    with pytest.raises(UserError, match="transformers' outputs differ by"):
        export_run(run, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_masked_lm_model_has_no_next_sentence_head(tmp_path: Path) -> None:
    export_run(write_run(tmp_path, some_model(objective="none")), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert load_pretrained(tmp_path / "out").missing_parts == ["bert.pooler", "next_sentence"]


@pytest.mark.parametrize("objective", ["nsp", "none"])
def test_the_card_counts_the_parameters_that_the_model_has(tmp_path: Path, objective: Objective) -> None:
    model = some_model(objective=objective)
    export_run(write_run(tmp_path, model), tmp_path / "out")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert f", {parameters:,} parameters" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_to_an_existing_path_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="already exists"):
        export_run(run, tmp_path / "out")


def test_an_import_makes_a_run_that_starts_from_the_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_run(run, tmp_path / "out")
    (tmp_path / "words.txt").write_text("Riverbank\n\n##ed\nthe\nriverbank\n")
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=32", "model.hidden_dropout_prob=0.2"]
    import_model(tmp_path / "out", "demo", overrides, tmp_path / "words.txt")
    made = tmp_path / "domain"
    recipe = load_recipe(made)
    assert (recipe.model.hidden_size, recipe.model.hidden_dropout_prob) == (16, 0.2)
    assert recipe.data.vocabulary.file == str(made / "vocab.txt")
    assert (made / "vocab.txt").read_text().splitlines() == [*VOCAB.pieces, "riverbank", "##ed"]
    start = load_pretrained(Path(recipe.train.initialise_from or ""))
    assert all(torch.equal(start.weights[name], weight) for name, weight in some_model().named_parameters())
    write_recipe(load_recipe(run, [f"train.initialise_from={recipe.train.initialise_from}"]), run / "recipe.toml")
    export_run(run, tmp_path / "again")
    assert "initialised from: `out`" in (tmp_path / "again" / "README.md").read_text()
    assert "2 word pieces added" in capsys.readouterr().out
    with pytest.raises(UserError, match="already exists"):
        import_model(tmp_path / "out", "demo", overrides, None)


SETTINGS = ["name=domain", "data.max_seq_length=32"]


@pytest.mark.parametrize(
    ("override", "gives"),
    [
        ("model.norm=pre", "'post'"),
        ("model.num_hidden_layers=3", "2"),
        ("model.layer_norm_eps=1e-5", "1e-12"),
        ("model.max_position_embeddings=64", "48"),
        ("data.vocabulary.file=x.txt", ".*/domain/vocab.txt"),
        ("data.vocabulary.lowercase=false", "True"),
        ("data.vocabulary.strip_accents=false", "None"),
        ("train.initialise_from=x", ".*/domain/initial"),
    ],
)
def test_a_setting_that_an_import_would_ignore_is_refused(run: Path, tmp_path: Path, override: str, gives: str) -> None:
    export_run(run, tmp_path / "out")
    with pytest.raises(UserError, match=f"{override}': an import takes .* from the model, which gives '?{gives}"):
        import_model(tmp_path / "out", "demo", [*SETTINGS, f"runs={tmp_path}", override], None)
    assert not (tmp_path / "domain").exists()


def test_a_setting_of_the_model_that_equals_the_models_is_accepted(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out")
    overrides = ["model.num_hidden_layers=2", "data.vocabulary.lowercase=true", "model.hidden_dropout_prob=0.3"]
    import_model(tmp_path / "out", "demo", [*SETTINGS, f"runs={tmp_path}", *overrides], None)
    with pytest.raises(UserError, match="only a vocabulary that is trained has this key"):
        import_model(tmp_path / "out", "demo", [*SETTINGS, "name=x", "data.vocabulary.size=500"], None)


def test_the_casing_of_a_model_that_states_none_can_be_set(run: Path, tmp_path: Path) -> None:
    """SciBERT's and BioBERT's cased models come as vocab.txt alone; by default transformers lower-cases their text."""
    export_run(run, tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "out" / name).unlink()
    overrides = [*SETTINGS, f"runs={tmp_path}", "data.vocabulary.lowercase=false"]
    import_model(tmp_path / "out", "demo", overrides, None)
    assert not load_recipe(tmp_path / "domain").data.vocabulary.lowercase
    assert not load_pretrained(tmp_path / "domain" / "initial").vocabulary.lowercase


def test_a_recipe_with_rows_beyond_the_models_positions_gets_a_fix_that_works(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out")
    overrides = ["name=domain", f"runs={tmp_path}", "data.max_seq_length=128", "model.max_position_embeddings=48"]
    with pytest.raises(UserError, match=r"is above model\.max_position_embeddings"):
        import_model(tmp_path / "out", "base_phase1", overrides, None)
    with pytest.raises(UserError, match="the model has 48 positions, but the recipe's rows have up to 128") as refused:
        import_model(tmp_path / "out", "base_phase1", overrides[:3], None)
    import_model(tmp_path / "out", "base_phase1", [*overrides[:2], *refused.value.fix.split()[1:]], None)
    assert load_recipe(tmp_path / "domain").data.max_seq_length == 48


def test_word_pieces_that_the_tokenizer_cannot_produce_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("good\nCOVID-19\n")
    with pytest.raises(UserError, match=r"words\.txt, line 2: 'COVID-19' is not a single word"):
        new_pieces(path, VOCAB)
    with pytest.raises(UserError, match="cannot read the word pieces"):
        new_pieces(tmp_path / "none", VOCAB)
