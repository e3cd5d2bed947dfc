"""A model folder of other origin gives transformers' hidden states, or is refused with the reason, in one line."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from configs.errors import UserError
from pretrain.huggingface.folder import padded as padded_inputs
from pretrain.huggingface.pretrained import Pretrained, load_pretrained
from pretrain.huggingface.tokenizer_settings import Casing
from tests.pretrain.batches import random_batch
from tests.pretrain.huggingface import model_folders as folders
from tests.pretrain.huggingface.model_folders import MAKERS, Maker, change_json, change_weights
from tests.pretrain.runs import VOCAB

TEXTS = ("The River bank wàs good, the cat", "Paris is of money. covid [E1]", "RIVER and é 東京!")


def named(maker: Callable[..., Any]) -> str:
    return maker.__name__


def our_ids(model: Pretrained, text: str) -> list[int]:
    return list(model.vocabulary.tokenizer().encode(text).ids)


@pytest.mark.parametrize("maker", MAKERS, ids=named)
@torch.no_grad()
def test_hidden_states_are_those_of_transformers(maker: Maker, tmp_path: Path) -> None:
    theirs = maker(tmp_path)
    ours = load_pretrained(tmp_path)
    length = min(24, ours.config.max_position_embeddings)
    batch = random_batch(2, 6, vocabulary_size=len(VOCAB), max_seq_length=length)
    inputs = padded_inputs(batch)
    if not ours.config.has_segments:
        del inputs["token_type_ids"]
    expected = theirs(**inputs, output_hidden_states=True).hidden_states
    states = list(ours.model("nsp").eval().bert.hidden_states(batch))
    assert len(states) == len(expected) == ours.config.num_hidden_layers + 1
    for state, other in zip(states, expected, strict=True):
        torch.testing.assert_close(state, other[inputs["attention_mask"].bool()], rtol=0, atol=1e-5)


@pytest.mark.parametrize("maker", [m for m in MAKERS if m not in (folders.google,)], ids=named)
def test_ids_are_those_of_transformers(maker: Maker, tmp_path: Path) -> None:
    maker(tmp_path)
    ours, theirs = load_pretrained(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS if "extended" not in maker.__name__ else TEXTS[::2]:
        assert our_ids(ours, text) == theirs(text)["input_ids"]


def japanese(folder: Path) -> None:
    name = "BertJapaneseTokenizer"
    folders.write_text_vocabulary(folder, do_lower_case=False, tokenizer_class=name, word_tokenizer_type="mecab")
    (folder / "tokenizer.json").unlink()


def japanese_by_its_settings(folder: Path) -> None:
    japanese(folder)
    change_json(folder / "tokenizer_config.json", tokenizer_class=None)


def japanese_by_config(folder: Path) -> None:
    change_json(folder / "config.json", tokenizer_class="BertJapaneseTokenizer")
    change_json(folder / "tokenizer_config.json", tokenizer_class=None)


def without_chinese(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", tokenize_chinese_chars=False)


def split_at_spaces(folder: Path) -> None:
    change_json(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})


def byte_pairs(folder: Path) -> None:
    change_json(folder / "tokenizer.json", model={"type": "BPE", "vocab": {}, "merges": []})


def other_special_tokens(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", cls_token="<s>")  # noqa: S106  # not a password


def other_vocabulary(folder: Path) -> None:
    folders.write_text_vocabulary(folder, tuple(reversed(VOCAB.pieces)))


def shorter_embeddings(folder: Path) -> None:
    name = "bert.embeddings.word_embeddings.weight"
    change_weights(folder, lambda w: w | {name: w[name][:-3].clone()})
    change_json(folder / "config.json", vocab_size=len(VOCAB) - 3)


def much_longer_embeddings(folder: Path) -> None:
    folders.model_of(vocab_size=len(VOCAB) + 2000).save_pretrained(folder)


def other_vocab_size(folder: Path) -> None:
    change_json(folder / "config.json", vocab_size=len(VOCAB) + 9)


def layer_less(folder: Path) -> None:
    change_json(folder / "config.json", num_hidden_layers=1)


def layer_more(folder: Path) -> None:
    change_json(folder / "config.json", num_hidden_layers=3)


def other_width(folder: Path) -> None:
    change_json(folder / "config.json", intermediate_size=64)


def more_positions(folder: Path) -> None:
    change_json(folder / "config.json", max_position_embeddings=96)


def other_norm(folder: Path) -> None:
    change_json(folder / "config.json", model_type="megatron-bert")


def pruned_heads(folder: Path) -> None:
    name = "bert.encoder.layer.1.attention.self.key.weight"
    change_weights(folder, lambda w: w | {name: w[name][:8].clone()})


def adapters(folder: Path) -> None:
    change_weights(folder, lambda w: w | {"bert.encoder.layer.0.attention.self.query.lora_A": torch.ones(2, 16)})


def _shards(folder: Path) -> list[Path]:
    (folder / "model.safetensors").unlink()
    folders.sharded(folder)
    return sorted(folder.glob("model-*.safetensors"))


def missing_shard(folder: Path) -> None:
    _shards(folder)[1].unlink()


def missing_index(folder: Path) -> None:
    _shards(folder)
    (folder / "model.safetensors.index.json").unlink()


def index_of_other_shards(folder: Path) -> None:
    first, second, *_ = _shards(folder)
    first.write_bytes(second.read_bytes())


def index_outside(folder: Path) -> None:
    _shards(folder)
    change_json(folder / "model.safetensors.index.json", weight_map={"x": "../../x.safetensors"})


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def planted_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": Planted(folder / "ran")}, folder / "pytorch_model.bin", pickle_module=pickle)


def tensorflow(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def quantised(folder: Path) -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    change_weights(folder, lambda w: w | {name: (w[name] * 127).to(torch.int8)})


REFUSED: dict[Callable[[Path], None], str] = {
    japanese: r"the tokenizer is a BertJapaneseTokenizer",
    japanese_by_its_settings: "word_tokenizer_type 'mecab', but BERT's has 'basic'",
    japanese_by_config: "the tokenizer is a BertJapaneseTokenizer",
    without_chinese: "tokenize_chinese_chars False",
    split_at_spaces: r'pre_tokenizer has type "Whitespace", but BERT\'s has "BertPreTokenizer"',
    byte_pairs: 'model has type "BPE"',
    other_special_tokens: "cls_token '<s>'",
    other_vocabulary: "vocab.txt and tokenizer.json hold different word pieces",
    shorter_embeddings: r"`cls.predictions.bias` has the shape \[72\], but config.json gives \[69\]",
    much_longer_embeddings: "the vocabulary has 72 word pieces, but the weights have 2,072",
    other_vocab_size: r"word_embeddings.weight` has the shape \[72, 16\], but config.json gives \[81, 16\]",
    layer_less: "the weights have 2 layers, but config.json has 1",
    layer_more: "the weights have 2 layers, but config.json has 3",
    other_width: r"intermediate.dense.bias` has the shape \[32\], but config.json gives \[64\]",
    more_positions: r"position_embeddings.weight` has the shape \[48, 16\], but config.json gives \[96, 16\]",
    other_norm: "is not a weight of BERT's encoder",
    pruned_heads: r"self.key.weight` has the shape \[8, 16\], but config.json gives \[16, 16\]",
    quantised: "layer.0.output.dense.weight` has the type int8, not a floating-point one",
    adapters: "lora_A` is not a weight of BERT's encoder",
    missing_shard: r"1 of \d+ shards that model.safetensors.index.json lists are missing: model-00002-of-",
    missing_index: "model.safetensors.index.json, which lists the shards, is missing",
    index_of_other_shards: "is not in model-00001-of-.*, where model.safetensors.index.json says it is",
    index_outside: r"lists '\.\./\.\./x.safetensors', which is not a file of this folder",
    pointer: "holds a Git LFS pointer instead of the weights",
    planted_code: "holds other objects, which could run code",
    tensorflow: "no model.safetensors and no pytorch_model.bin; tf_model.h5 is of another library",
    no_tokenizer: "no vocab.txt and no tokenizer.json",
}


@pytest.mark.parametrize("change", REFUSED, ids=named)
def test_a_folder_that_contradicts_itself_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    folders.plain(tmp_path)
    load_pretrained(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=REFUSED[change]) as refused:
        load_pretrained(tmp_path)
    assert refused.value.fix
    assert str(tmp_path) in str(refused.value)
    assert not (tmp_path / "ran").exists()


OTHER_FAMILIES: dict[str, dict[str, Any]] = {
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "Roberta": folders.FIELDS,
    "Electra": folders.FIELDS | {"embedding_size": 16},
    "Albert": folders.FIELDS | {"embedding_size": 16},
}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_a_model_of_another_family_is_refused_in_one_line(family: str, stated: bool, tmp_path: Path) -> None:
    """Also if its config.json does not state what it is, and its sizes could be BERT's."""
    config = getattr(transformers, f"{family}Config")(vocab_size=len(VOCAB), **OTHER_FAMILIES[family])
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(tmp_path)
    folders.write_tokenizer(tmp_path)
    words = f"has model_type = '{family.lower()}'"
    if not stated:
        change_json(tmp_path / "config.json", model_type=None)
        words = "is missing"
    with pytest.raises(UserError, match=words) as refused:
        load_pretrained(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        (folders.plain, None),
        (folders.untied, "the decoder is not tied .*; the masked-LM head is left out\n.*at random .*: masked-LM head"),
        (folders.bare_encoder, "not in the model, initialised at random where needed: masked-LM head, next-sentence"),
        (folders.without_pooler, "initialised at random where needed: pooler, next-sentence head"),
        (folders.with_a_classifier, "weights that are not used: classifier.bias, classifier.weight"),
        (folders.padded, "56 rows of the embeddings beyond the 72 word pieces are cut off"),
        (folders.extended, r"2 added tokens are kept as word pieces, .*: \[E1\], covid"),
        (folders.extended_by_a_file, r"2 ids have no word piece of their own, and are kept as \[unusedN\]"),
        (folders.cased_without_settings, "text never becomes .* of the pieces"),
    ],
)
def test_what_is_cut_left_out_or_initialised_is_named(
    maker: Maker, words: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    maker(tmp_path)
    load_pretrained(tmp_path)
    if words is None:
        assert not caplog.records
    else:
        assert re.search(words, caplog.text)


def test_casings_that_differ_are_named_and_transformers_choice_is_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders.plain(tmp_path)
    change_json(tmp_path / "tokenizer_config.json", do_lower_case=False)
    assert not load_pretrained(tmp_path).vocabulary.lowercase
    assert "state different casings; tokenizer_config.json is followed" in caplog.text
    assert not transformers.AutoTokenizer.from_pretrained(tmp_path).do_lower_case


def test_a_casing_that_the_folder_does_not_state_can_be_given(tmp_path: Path) -> None:
    folders.cased_without_settings(tmp_path)
    assert not load_pretrained(tmp_path, Casing(lowercase=False)).vocabulary.lowercase
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    assert load_pretrained(tmp_path, Casing(lowercase=False)).vocabulary.lowercase


def test_an_incomplete_head_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders.plain(tmp_path)

    def change(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: weight for name, weight in weights.items() if name != "cls.seq_relationship.bias"}

    change_weights(tmp_path, change)
    assert load_pretrained(tmp_path).missing_parts == ["next_sentence"]
    assert "initialised at random where needed: next-sentence head" in caplog.text


@pytest.mark.parametrize("name", ["bert-base-uncased", "allenai/scibert_scivocab_uncased"])
def test_a_name_on_the_hub_says_how_to_download_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"`hf download {name} --local-dir {name.rpartition('/')[2]}`"):
        load_pretrained(Path(name))


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "0_Transformer").mkdir()
    with pytest.raises(UserError, match="no pretrained model"):
        load_pretrained(tmp_path)
    folders.plain(tmp_path / "0_Transformer")
    with pytest.raises(UserError, match=r"no pretrained model\. Give the folder of a model in it: .*0_Transformer"):
        load_pretrained(tmp_path)
    load_pretrained(tmp_path / "0_Transformer")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"a PEFT adapter, without the model that it changes\. Merge it"):
        load_pretrained(tmp_path)
