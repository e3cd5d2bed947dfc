"""Settings without effect are named, and only those."""

from __future__ import annotations

import re
from typing import Any

import pytest

from configs.recipe import load_recipe, shipped_recipes
from configs.schema import Recipe, idle_settings

CORPUS = {"paths": ["x"], "format": "text"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"data": {"objective": "none", "nsp_mode": "reference"}}, "data.nsp_mode = 'reference' has no effect"),
        ({"data": {"near_duplicate_threshold": 0.9}}, 'data.duplicates is "exact"'),
        ({"data": {"vocabulary": {"file": "v", "size": 400}}}, "data.vocabulary.size = 400 has no effect"),
        ({"data": {"corpora": [CORPUS, CORPUS | {"text_field": "b"}]}}, "data.corpora.1.text_field has no effect"),
        ({"data": {"max_seq_length": 512, "max_predictions_per_seq": 20}}, "masks 3.9% of a full row, not .* 15.0%"),
        ({"optimizer": {"decay_power": 2.0}}, 'optimizer.decay is "linear"'),
        ({"checkpoint": {"every_steps": 5, "keep_every_steps": 7}}, "not a multiple of checkpoint.every_steps = 5"),
        ({"train": {"profile_steps": [2_000_000]}}, "2000000 is beyond train.steps = 1000000"),
        ({"train": {"evaluate_every_steps": 5}, "data": {"held_out_fraction": 0.0}}, "there are no held-out rows"),
        ({"train": {"evaluate_every_steps": 2_000_000}}, "above train.steps"),
        ({"train": {"first_global_batch_size": 8}}, "train.batch_growth_steps is 0"),
        ({"train": {"stage_gib": 1.0}}, "train.stage_in is unset"),
        ({"cluster": {"hosts": ["a", "b"]}}, "cluster.hosts names 2 nodes, but cluster.nodes = 1 are used"),
        ({"cluster": {"device": "cpu", "gpus_per_node": 8}}, 'requests GPUs, but cluster.device is "cpu"'),
    ],
)
def test_a_setting_without_effect_is_named(table: dict[str, Any], words: str) -> None:
    (sentence,) = idle_settings(Recipe.model_validate(table))
    assert re.search(words, sentence)


@pytest.mark.parametrize(
    "table",
    [
        {"data": {"nsp_mode": "reference"}},
        {"data": {"duplicates": "near", "near_duplicate_threshold": 0.9}},
        {"data": {"vocabulary": {"size": 400}}},
        {"data": {"vocabulary": {"size": 400, "file": "datasets/to-come/vocab.txt"}}},
        {"data": {"corpora": [CORPUS | {"format": "jsonl", "text_field": "b"}]}},
        {"data": {"max_seq_length": 512}},
        {"data": {"max_predictions_per_seq": 19}},
        {"optimizer": {"decay": "polynomial", "decay_power": 2.0}},
        {"checkpoint": {"every_steps": 5, "keep_every_steps": 10}},
        {"train": {"profile_steps": [7], "evaluate_every_steps": 5}},
        {"train": {"first_global_batch_size": 8, "batch_growth_steps": 10}},
        {"train": {"stage_gib": 1.0, "stage_in": "stage"}},
        {"cluster": {"hosts": ["a", "b"], "nodes": 2, "device": "cuda", "gpus_per_node": 8}},
        {"train": {"stage_gib": 1.0}, "data": {"dataset": "s3://bucket/set"}},
    ],
)
def test_a_setting_with_effect_is_not_named(table: dict[str, Any]) -> None:
    assert idle_settings(Recipe.model_validate(table)) == []


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_have_no_setting_without_effect(name: str) -> None:
    assert idle_settings(load_recipe(name)) == []
