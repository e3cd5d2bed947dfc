from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.schema import ModelConfig, Recipe
from preprocessing.vocabulary.vocabulary import Vocabulary
from pretrain.checkpoint import read_state
from pretrain.checkpoint.state import state_text
from pretrain.huggingface.folder import write_hugging_face_folder
from pretrain.huggingface.pretrained import Pretrained, load_pretrained
from pretrain.model.pretraining import BertForPreTraining
from pretrain.model.tiling import tiled_weights
from tests.pretrain.batches import random_batch
from tests.pretrain.runs import MODEL, MODERN, VOCAB, some_model, write_checkpoint, write_run

BATCH = random_batch(3, 6, vocabulary_size=len(VOCAB))


def outputs(model: BertForPreTraining) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        made: tuple[torch.Tensor, ...] = model.eval()(BATCH)
        return made


def test_load_from_run_uses_newest_checkpoint(tmp_path: Path) -> None:
    first, second = some_model(1), some_model(2)
    run = write_run(tmp_path, first, step=7)
    write_checkpoint(run, dict(second.named_parameters()), step=9)
    for place, step, model in ((run, 9, second), (run / "checkpoints/step_00000007", 7, first)):
        read = load_pretrained(place)
        assert (read.step, read.vocabulary, read.missing_parts) == (step, VOCAB, [])
        assert all(torch.equal(read.weights[name], weight) for name, weight in model.named_parameters())
        assert outputs(read.model("nsp")) == outputs(model)


def test_missing_data_set_raises(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    shutil.rmtree(tmp_path / "dataset")
    with pytest.raises(
        UserError, match=r"cannot open its data set, which holds the vocabulary: .*/dataset: .*\. Put it back"
    ):
        load_pretrained(run)


def test_folder_without_a_model_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pretrained model"):
        load_pretrained(tmp_path)
    run = write_run(tmp_path, some_model())
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_pretrained(run)


def test_an_edited_recipe_raises(tmp_path: Path) -> None:
    """Another number of heads changes no shape, but every prediction. An empty recipe has the default shape."""
    run = write_run(tmp_path, some_model())
    recipe = load_recipe(run / "recipe.toml")
    empty = Recipe.model_validate({"data": recipe.data, "name": "x"})
    write_recipe(empty, run / "recipe.toml")
    with pytest.raises(UserError, match=r"has shape .* in the checkpoint of step 7"):
        load_pretrained(run)
    state = run / "checkpoints/step_00000007/state.json"
    saved = read_state(state.parent).model_copy(update={"recipe": recipe.model_dump(mode="json")})
    state.write_text(state_text(saved))
    edited = recipe.model_copy(update={"model": recipe.model.model_copy(update={"num_attention_heads": 1})})
    write_recipe(edited, run / "recipe.toml")
    with pytest.raises(UserError, match=r"model\.num_attention_heads is 1, but 2 in the checkpoint of step 7"):
        load_pretrained(run)
    write_recipe(recipe, run / "recipe.toml")
    load_pretrained(run)


@pytest.fixture
def encoder(tmp_path: Path) -> Pretrained:
    """A model without heads, loaded from a folder."""
    weights = dict(some_model().named_parameters())
    alone = {name: weight.detach() for name, weight in weights.items() if name.startswith("bert.")}
    write_hugging_face_folder(tmp_path, ModelConfig(**MODEL), VOCAB, alone)
    return load_pretrained(tmp_path)


def test_missing_heads_are_initialised_from_the_seed(encoder: Pretrained) -> None:
    assert encoder.missing_parts == ["masked_lm", "next_sentence"]
    one, same, other = (encoder.model("nsp", seed) for seed in (1, 1, 2))
    assert torch.equal(one.masked_lm.dense.weight, same.masked_lm.dense.weight)
    assert not torch.equal(one.masked_lm.dense.weight, other.masked_lm.dense.weight)
    assert torch.equal(one.state_dict()["bert.pooler.weight"], encoder.weights["bert.pooler.weight"])
    assert one.masked_lm.decoder.weight is one.bert.embeddings.word.weight


def test_with_dropout_changes_every_dropout(encoder: Pretrained) -> None:
    assert encoder.with_dropout(None) is encoder
    none, much = (encoder.with_dropout(probability).model("nsp").train() for probability in (0.0, 0.5))
    with torch.no_grad():
        assert torch.equal(none(BATCH)[0], none(BATCH)[0])
        assert not torch.equal(much(BATCH)[0], much(BATCH)[0])
    assert torch.equal(outputs(none)[0], outputs(much)[0])


def test_initialise_copies_weights_and_keeps_missing_heads(encoder: Pretrained) -> None:
    model = some_model(5)
    before = model.masked_lm.dense.weight.clone()
    encoder.initialise(model, ModelConfig(**MODEL, hidden_dropout_prob=0.3), VOCAB)
    assert torch.equal(
        model.state_dict()["bert.encoder.1.feed_in.weight"], encoder.weights["bert.encoder.1.feed_in.weight"]
    )
    assert torch.equal(model.masked_lm.dense.weight, before)


def test_added_word_pieces_start_as_the_mean_of_their_parts(encoder: Pretrained) -> None:
    wider = Vocabulary((*VOCAB.pieces, "riverbank", "##ed"), lowercase=True)
    config = ModelConfig(**MODEL)
    model = BertForPreTraining(config, len(wider), "nsp")
    encoder.initialise(model, config, wider)
    old, new = encoder.weights["bert.embeddings.word.weight"], model.bert.embeddings.word.weight.detach()
    assert torch.equal(new[: len(old)], old)
    parts = [VOCAB.ids[piece] for piece in ("river", "##b", "##a", "##n", "##k")]
    torch.testing.assert_close(new[-2], old[parts].mean(0))
    torch.testing.assert_close(new[-1], old[[VOCAB.ids["e"], VOCAB.ids["##d"]]].mean(0))
    assert model.masked_lm.decoder.weight is model.bert.embeddings.word.weight


LARGER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}


def test_a_larger_model_is_tiled(encoder: Pretrained) -> None:
    config = ModelConfig.model_validate(MODEL | LARGER)
    torch.manual_seed(2)
    model = BertForPreTraining(config, len(VOCAB), "nsp")
    encoder.initialise(model, config, VOCAB, tiles=True)
    tiled = tiled_weights(encoder.weights, encoder.config, config)
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in tiled.items())
    assert bool(outputs(model)[0].isfinite())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 1}, r"model\.num_hidden_layers is 1, but the weights to initialise from have 2"),
        ({"hidden_size": 24}, r"the heads are 12 wide, but those of the weights to initialise from 8"),
        ({"max_position_embeddings": 50}, r"model\.max_position_embeddings is 50"),
    ],
)
def test_a_model_that_is_not_larger_is_not_tiled(encoder: Pretrained, changes: dict[str, object], words: str) -> None:
    config = ModelConfig.model_validate(MODEL | changes)
    with pytest.raises(UserError, match=words):
        encoder.initialise(some_model(), config, VOCAB, tiles=True)


def test_a_rotary_base_can_change_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    config = ModelConfig.model_validate(MODEL | MODERN)
    source = Pretrained(Path("here"), config, VOCAB, dict(some_model(objective="none", **MODERN).named_parameters()))
    longer = config.model_copy(update={"global_rotary_base": 640_000.0, "max_position_embeddings": 96})
    model = BertForPreTraining(longer, len(VOCAB), "none")
    source.initialise(model, longer, VOCAB)
    assert torch.equal(model.bert.embeddings.word.weight, source.weights["bert.embeddings.word.weight"])
    assert "model.global_rotary_base is 640000.0, and was 160000.0 for the weights to start from" in caplog.text
    assert "model.max_position_embeddings is 96, and was 48" in caplog.text


@pytest.mark.parametrize(
    ("changes", "pieces", "lowercase", "words"),
    [
        ({"num_hidden_layers": 3}, VOCAB.pieces, True, "model.num_hidden_layers is 3, but .* have 2"),
        ({"norm": "pre"}, VOCAB.pieces, True, "model.norm is pre"),
        ({}, VOCAB.pieces[::-1], True, "does not begin with the vocabulary of the weights"),
        ({}, VOCAB.pieces[:-1], True, "does not begin with the vocabulary of the weights"),
        ({}, VOCAB.pieces, False, "is lower-cased, the other cased"),
    ],
)
def test_initialise_with_other_shape_or_vocabulary_raises(
    encoder: Pretrained, changes: dict[str, object], pieces: tuple[str, ...], lowercase: bool, words: str
) -> None:
    config = ModelConfig.model_validate(MODEL | changes)
    with pytest.raises(UserError, match=words):
        encoder.initialise(some_model(), config, Vocabulary(pieces, lowercase))
