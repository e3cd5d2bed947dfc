from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from configs.schema import (
    CleaningConfig,
    CorpusConfig,
    DataConfig,
    MaskingConfig,
    PairingConfig,
    ReadingConfig,
    Recipe,
    RowsConfig,
    Section,
    TextConfig,
    TrainConfig,
    digest_of,
)


def all_sections(section: type[Section] = Recipe) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from all_sections(kind)


SECTIONS = sorted(set(all_sections()), key=lambda section: section.__name__)


def test_the_defaults_are_a_valid_recipe() -> None:
    assert Recipe().model.hidden_size == 768


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented_in_one_line(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description, name


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"train": {"steps": 0}}, "train.steps"),
        ({"train": {"steps": "5"}}, "train.steps"),
        ({"train": {"steps": True}}, "train.steps"),
        ({"train": {"steps": 5.0}}, "train.steps"),
        ({"train": {"zero_stage": 4}}, "train.zero_stage"),
        ({"train": {"precision": "fp8"}}, "train.precision"),
        ({"data": {"masked_lm_prob": 0.0}}, "data.masked_lm_prob"),
        ({"data": {"masked_lm_prob": float("nan")}}, "data.masked_lm_prob"),
        ({"data": {"language": "english"}}, "data.language"),
        ({"data": {"corpora": [{"paths": [], "format": "text"}]}}, "data.corpora.0.paths"),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate"),
        ({"name": "../elsewhere"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "demo\n"}, "name"),
        ({"name": ""}, "name"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused(table: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(table)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == key


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"data": {"mask_token_prob": 0.9, "random_token_prob": 0.2}}, "lower one of them"),
        ({"data": {"vocabulary": {"size": 100, "unused_slots": 51}}}, "unused_slots 51 is above half of size 100"),
        (
            {"data": {"max_seq_length": 20, "max_predictions_per_seq": 20}},
            "max_predictions_per_seq is 20, but a row of 20 tokens has only 17 ordinary ones",
        ),
        ({"data": {"max_seq_length": 1024}}, "max_seq_length 1024 is above model.max_position_embeddings 512"),
        ({"data": {"span_masking": True, "mask_word_once": True}}, "cannot be combined"),
        ({"train": {"epochs": 1.0, "tokens": 5}}, "both determine train.steps"),
        ({"optimizer": {"minimum_learning_rate": 0.5}}, "minimum_learning_rate 0.5 is above 0.0001"),
        ({"optimizer": {"decay_from_step": 5}}, "decay_from_step needs decay_from_rate"),
        ({"model": {"hidden_size": 100}}, "hidden_size 100 is not a multiple of num_attention_heads 12"),
        ({"train": {"steps": 10_000}}, "warmup_steps 10000 is not below train.steps 10000"),
    ],
)
def test_inconsistent_fields_are_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate(table)


def test_shares_add_up_to_one_despite_rounding() -> None:
    assert DataConfig(mask_token_prob=0.9, random_token_prob=0.1).random_token_prob == 0.1
    assert DataConfig(mask_token_prob=0.7, random_token_prob=0.3).random_token_prob == 0.3


def test_each_part_of_data_has_its_own_keys_and_is_independent() -> None:
    keys = [set(part.model_fields) for part in (ReadingConfig, CleaningConfig, PairingConfig, MaskingConfig)]
    assert len(set.union(*keys)) == sum(map(len, keys))
    assert set(TextConfig.model_fields) == keys[0] | keys[1]
    assert set(RowsConfig.model_fields) - keys[2] - keys[3] == {"dupe_factor", "provenance"}
    assert MaskingConfig(masked_lm_prob=0.2).masked_lm_prob == 0.2
    with pytest.raises(ValidationError, match="lower one of them"):
        MaskingConfig(mask_token_prob=0.9, random_token_prob=0.2)


def test_keys_of_data_keep_the_order_of_manifests() -> None:
    """The bytes of a manifest depend on it."""
    assert list(DataConfig().byte_fields()) == [
        "objective",
        "nsp_mode",
        "language",
        "invalid_utf8",
        "min_document_chars",
        "duplicates",
        "near_duplicate_threshold",
        "boilerplate_documents",
        "max_seq_length",
        "short_seq_prob",
        "masked_lm_prob",
        "max_predictions_per_seq",
        "mask_token_prob",
        "random_token_prob",
        "whole_word_masking",
        "mask_word_once",
        "dupe_factor",
        "held_out_fraction",
        "provenance",
        "seed",
        "group_bytes",
        "vocabulary",
    ]


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Recipe().train.steps = 5  # type: ignore[misc]  # the point of the test


def test_paths_and_workers_do_not_determine_bytes() -> None:
    here = DataConfig(dataset="here", workers=1)
    there = DataConfig.model_validate(
        {"dataset": "there", "workers": 2, "corpora": [{"paths": ["x"], "format": "text"}], "vocabulary": {"file": "v"}}
    )
    assert digest_of(here.byte_fields()) == digest_of(there.byte_fields())
    assert {"dataset", "workers", "corpora"}.isdisjoint(here.byte_fields())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dupe_factor": 3},
        {"masked_lm_prob": 0.2},
        {"group_bytes": 1_000_000},
        {"held_out_fraction": 0.5},
        {"vocabulary": {"lowercase": False}},
        {"vocabulary": {"strip_accents": False}},
        {"objective": "sop"},
        {"nsp_mode": "reference"},
        {"whole_word_masking": True},
    ],
)
def test_settings_that_determine_bytes_change_the_digest(change: dict[str, Any]) -> None:
    assert digest_of(DataConfig().byte_fields()) != digest_of(DataConfig.model_validate(change).byte_fields())


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "none", "nsp_mode": "reference"},
        {"objective": "sop", "nsp_mode": "reference"},
        {"near_duplicate_threshold": 0.9},
        {"duplicates": "none", "near_duplicate_threshold": 0.9},
        {"vocabulary": {"strip_accents": True}},
        {"vocabulary": {"lowercase": False, "strip_accents": False}},
        {"vocabulary": {"file": "v", "size": 400, "min_frequency": 3, "unused_slots": 4, "sample_bytes": 9}},
        {"max_seq_length": 512, "max_predictions_per_seq": 77},
    ],
)
def test_a_key_that_takes_no_part_does_not_make_another_data_set(change: dict[str, Any]) -> None:
    parts = {"objective", "duplicates", "max_seq_length"}
    plain = {name: value for name, value in change.items() if name in parts}
    casing = {"lowercase": change.get("vocabulary", {}).get("lowercase", True)}
    expected = DataConfig.model_validate({**plain, "vocabulary": casing}).byte_fields()
    assert DataConfig.model_validate(change).byte_fields() == expected


@pytest.mark.parametrize(
    ("corpus", "is_idle"),
    [
        ({"format": "text", "text_field": "body"}, True),
        ({"format": "files", "text_field": "body"}, True),
        ({"format": "jsonl", "text_field": "body"}, False),
        ({"format": "parquet", "text_field": "body"}, False),
    ],
)
def test_the_text_field_of_a_format_without_fields_takes_no_part(corpus: dict[str, Any], is_idle: bool) -> None:
    fields = CorpusConfig.model_validate({"paths": ["x"], **corpus}).byte_fields()
    assert (fields["text_field"] == "text") == is_idle


@pytest.mark.parametrize(
    ("settings", "most"),
    [({}, 20), ({"max_seq_length": 512}, 77), ({"max_seq_length": 16, "masked_lm_prob": 0.99}, 13)],
)
def test_the_number_of_masks_follows_length_and_share(settings: dict[str, Any], most: int) -> None:
    assert DataConfig.model_validate(settings).max_predictions_per_seq == most


def test_the_digest_is_of_canonical_json() -> None:
    assert digest_of({"b": 1, "a": "é"}) == digest_of({"a": "é", "b": 1})
    # sha256 of {"a":1}
    assert digest_of({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_one_rank_trains_at_stage_0_unless_it_needs_deepspeed() -> None:
    for stage in (0, 1, 2, 3):
        train = TrainConfig.model_validate({"zero_stage": stage})
        assert (train.stage_on(1), train.stage_on(2)) == (0, stage)
    for field in ({"precision": "fp16"}, {"offload_optimizer": True}):
        assert TrainConfig.model_validate({"zero_stage": 2} | field).stage_on(1) == 2


def bounds(field: FieldInfo) -> dict[str, float]:
    rules = [rule for rule in field.metadata if hasattr(rule, "__dict__") or hasattr(rule, "__slots__")]
    return {name: getattr(rule, name) for rule in rules for name in ("gt", "ge", "lt", "le") if hasattr(rule, name)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_number_has_a_range(section: type[Section]) -> None:
    """A number without one is a traceback somewhere: 1e300 bytes, a timeout of 1e14 s, an epsilon that is 0 in fp32."""
    for name, field in section.model_fields.items():
        if field.annotation in (int, float, int | None, float | None):
            found = bounds(field)
            assert {"lt", "le"} & found.keys(), f"{section.__name__}.{name} has no upper bound"
            assert {"gt", "ge"} & found.keys(), f"{section.__name__}.{name} has no lower bound"
            assert found.get("gt", 1e-20) >= 1e-20, f"{section.__name__}.{name}: a value above 0 can be 0 in fp32"


@pytest.mark.parametrize(
    ("code", "known"), [("de", "de"), ("deu", "de"), ("ger", "de"), ("zho", "zh"), ("arz", "arz"), ("en", "en")]
)
def test_a_code_of_three_letters_is_that_of_two(code: str, known: str) -> None:
    assert DataConfig(language=code).language == known
    corpus = CorpusConfig.model_validate({"paths": ["x"], "format": "text", "language": code})
    assert corpus.language == known


@pytest.mark.parametrize("code", ["qq", "xx", "qqq", "EN", "english", ""])
def test_an_unknown_language_is_refused(code: str) -> None:
    with pytest.raises(ValidationError, match="language"):
        DataConfig(language=code)
