"""Models of any tokenizer: exported with it, read by transformers with the same ids, and imported again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.schema import ModelConfig
from preprocessing.dataset import read_manifest
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from pretrain.checkpoint import find_checkpoint, read_state
from pretrain.huggingface.folder import read_hugging_face_folder, write_hugging_face_folder
from pretrain.huggingface.model_card import write_model_card
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.model.pretraining import BertForPreTraining
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import KINDS, LINES, tokenizer_of, vocabulary_of
from tests.pretrain.huggingface.model_folders import change_json, model_of
from tests.pretrain.runs import MODEL, VOCAB, some_model, write_run

BERT = ModelConfig(**MODEL)
MODERN = ModelConfig(**{**MODEL, "architecture": "modernbert"})
ROLES = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True))


def write(folder: Path, vocabulary: Vocabulary, config: ModelConfig = BERT) -> None:
    model = BertForPreTraining(config, len(vocabulary), "none")
    write_hugging_face_folder(folder, config, vocabulary, dict(model.named_parameters()))


def write_foreign(folder: Path, kind: str, rows: int = 0, **settings: str) -> Tokenizer:
    """Write a model and its tokenizer as transformers does."""
    tokenizer = Tokenizer.from_str(tokenizer_of(kind).to_str())
    made: Any = transformers.PreTrainedTokenizerFast
    made(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    model_of("BertForMaskedLM", vocab_size=rows or tokenizer.get_vocab_size()).save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("config", [BERT, MODERN], ids=["bert", "modernbert"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_an_export_with_the_same_ids(tmp_path: Path, kind: str, config: ModelConfig) -> None:
    vocabulary = vocabulary_of(kind)
    write(tmp_path, vocabulary, config)
    assert not (tmp_path / "vocab.txt").exists()
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), vocabulary.tokenizer()
    mask = vocabulary.name_of("[MASK]")
    for text in (*LINES, f"The {mask} was best, {mask}.", "", " a"):
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    pair = theirs(LINES[0], LINES[1])
    assert pair["input_ids"] == ours.encode(LINES[0], LINES[1]).ids
    assert (
        pair.get("token_type_ids", ours.encode(LINES[0], LINES[1]).type_ids) == ours.encode(LINES[0], LINES[1]).type_ids
    )
    assert ("token_type_ids" in pair) == config.has_segments
    for role, special in ROLES.items():
        assert getattr(theirs, f"{role}_id") == vocabulary.id_of(special)
    assert theirs.model_max_length == config.max_position_embeddings


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "gpt2"])
def test_the_configuration_of_a_modernbert_states_our_ids(tmp_path: Path, kind: str) -> None:
    """Its class has other ids as defaults, which can be larger than the vocabulary."""
    vocabulary = vocabulary_of(kind)
    write(tmp_path, vocabulary, MODERN)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    cls, sep = vocabulary.id_of("[CLS]"), vocabulary.id_of("[SEP]")
    assert (theirs.bos_token_id, theirs.cls_token_id) == (cls, cls)
    assert (theirs.eos_token_id, theirs.sep_token_id) == (sep, sep)
    assert theirs.pad_token_id == vocabulary.id_of("[PAD]")


@pytest.mark.parametrize("attention", ["bidirectional", "left_to_right"])
def test_the_card_calls_special_tokens_by_their_names(tmp_path: Path, attention: str) -> None:
    run = write_run(tmp_path, some_model())
    recipe = load_recipe(str(run / "recipe.toml"))
    model = recipe.model.model_copy(update={"attention": attention})
    folder = find_checkpoint(run)
    assert folder
    manifest = read_manifest(recipe.data.dataset)
    changed = recipe.model_copy(update={"model": model})
    write_model_card(tmp_path, run, changed, vocabulary_of("roberta"), manifest, read_state(folder))
    usage = (tmp_path / "README.md").read_text().split("```")[1]
    assert ("The capital of France is <mask>." in usage) == (attention == "bidirectional")
    assert ("<s> The capital of" in usage) == (attention == "left_to_right")


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_reads_back_the_same(tmp_path: Path, kind: str) -> None:
    write(tmp_path, vocabulary_of(kind))
    assert read_hugging_face_folder(tmp_path)[1] == vocabulary_of(kind)


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "xlmr", "cased_bert", "clip"])
def test_a_model_of_other_origin_keeps_its_ids(tmp_path: Path, kind: str) -> None:
    tokenizer = write_foreign(tmp_path, kind)
    ours = load_pretrained(tmp_path)
    assert ours.vocabulary.pieces == vocabulary_of(kind).pieces
    assert len(ours.vocabulary) == tokenizer.get_vocab_size()
    for line in LINES:
        ids = ours.vocabulary.tokenizer().encode(line, add_special_tokens=False).ids
        assert ids == tokenizer.encode(line, add_special_tokens=False).ids


def test_a_named_class_is_what_its_tokenizer_json_says(tmp_path: Path) -> None:
    write_foreign(tmp_path, "roberta", cls_token="<s>")  # noqa: S106  # not a password
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class="RobertaTokenizer")
    assert load_pretrained(tmp_path).vocabulary == vocabulary_of("roberta")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="the tokenizer is a RobertaTokenizer"):
        load_pretrained(tmp_path)


def test_padding_rows_are_cut_off(tmp_path: Path) -> None:
    write_foreign(tmp_path, "modernbert", rows=512)
    source = load_pretrained(tmp_path)
    assert source.weights["bert.embeddings.word.weight"].shape[0] == len(vocabulary_of("modernbert")) == 502


def test_tokenizers_of_other_models_are_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path, "gpt2")
    with pytest.raises(UserError, match=r"the tokenizer lacks \[PAD\], .*, or has them under names that are not known"):
        load_pretrained(tmp_path)
    write_foreign(tmp_path, "roberta", rows=300)
    with pytest.raises(UserError, match="the vocabulary has 500 word pieces, but the weights have 300"):
        load_pretrained(tmp_path)
    write_foreign(tmp_path, "roberta", cls_token="</s>")  # noqa: S106  # not a password
    with pytest.raises(UserError, match="the tokenizer has cls_token '</s>', where '<s>' is expected"):
        load_pretrained(tmp_path)


def test_a_data_set_of_another_tokenizer_does_not_continue_a_model(tmp_path: Path) -> None:
    write(tmp_path, vocabulary_of("roberta"))
    source = load_pretrained(tmp_path)
    model = BertForPreTraining(BERT, len(vocabulary_of("roberta")), "none")
    source.initialise(model, BERT, vocabulary_of("roberta"))
    with pytest.raises(UserError, match="the data set's vocabulary does not begin with the vocabulary of the weights"):
        source.initialise(model, BERT, Vocabulary(VOCAB.pieces, False))
