"""The settings that made a data set beside the recipe's."""

from __future__ import annotations

from typing import Any

import pytest

from configs.schema import DataConfig, differing_settings, recipe_of_data

MADE = DataConfig.model_validate({"max_seq_length": 64, "seed": 7, "vocabulary": {"size": 400}}).byte_fields()


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"max_seq_length": 64, "seed": 7, "vocabulary": {"size": 400}}, {}),
        ({"max_seq_length": 64, "seed": 7, "vocabulary": {"file": "v"}}, {}),
        ({"max_seq_length": 64}, {"data.seed": False}),
        ({"max_seq_length": 64, "seed": 9, "language": "de"}, {"data.seed": True, "data.language": True}),
        (
            {"max_seq_length": 64, "seed": 7, "whole_word_masking": True, "masked_lm_prob": 0.4},
            {"data.whole_word_masking": True, "data.masked_lm_prob": True, "data.max_predictions_per_seq": False},
        ),
        ({"max_seq_length": 64, "seed": 7, "boilerplate_documents": 3}, {"data.boilerplate_documents": True}),
        ({"max_seq_length": 64, "seed": 7, "near_duplicate_threshold": 0.9}, {}),
        ({"seed": 7}, {"data.max_predictions_per_seq": False}),
        (
            {"max_seq_length": 64, "seed": 7, "vocabulary": {"min_frequency": 3}},
            {"data.vocabulary.min_frequency": True},
        ),
    ],
)
def test_differing_settings_and_whether_the_recipe_states_them(
    settings: dict[str, Any], found: dict[str, bool]
) -> None:
    differing = differing_settings(MADE, DataConfig.model_validate(settings))
    assert {one.key: one.is_stated for one in differing} == found


def test_a_manifest_without_newer_keys_made_the_data_set_with_their_defaults() -> None:
    made = {name: value for name, value in MADE.items() if name != "mask_word_once"}
    (one,) = differing_settings(made, DataConfig.model_validate(MADE | {"mask_word_once": True}))
    assert str(one) == "data.mask_word_once is false (recipe: true)"


def test_setting_the_values_of_the_data_set_makes_the_recipes_equal() -> None:
    other = DataConfig.model_validate({"dataset": "x", "seed": 9, "language": "de", "duplicates": "none"})
    fixed = recipe_of_data(MADE, other)
    assert (fixed.byte_fields(), fixed.dataset) == (MADE, "x")
