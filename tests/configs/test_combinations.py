"""Keys that contradict each other, or do nothing in a combination, are refused or said."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from configs.schema import Recipe, idle_settings

TEXT = {"paths": ["x"], "format": "text"}
MODERN: dict[str, Any] = {"model.architecture": "modernbert", "data.objective": "none"}
PARQUET = {"paths": ["x"], "format": "parquet"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"data.max_seq_length": 1024}, "above model.max_position_embeddings"),
    ({"model.architecture": "modernbert"}, 'set data.objective to "none"'),
    (MODERN | {"model.norm": "pre"}, 'model.norm does not apply to model.architecture "modernbert"'),
    ({"model.local_attention": 64}, 'model.local_attention does not apply to model.architecture "bert"'),
    ({"model.decoder_bias": False}, 'model.decoder_bias does not apply to model.architecture "bert"'),
    (MODERN | {"model.hidden_act": "relu"}, 'model.hidden_act does not apply to model.architecture "modernbert"'),
    (MODERN | {"model.type_vocab_size": 1}, 'model.type_vocab_size does not apply to model.architecture "modernbert"'),
    (MODERN | {"model.local_attention": 7}, "multiple of 2"),
    (MODERN | {"model.num_attention_heads": 768}, "heads of an even width"),
    (MODERN | {"model.decoder_bias": False, "model.decoder_bias_init": "unigram"}, "needs decoder_bias true"),
    ({"data.max_seq_length": 20, "data.max_predictions_per_seq": 20}, "has only 17 ordinary ones"),
    ({"data.mask_token_prob": 0.9, "data.random_token_prob": 0.2}, "is above 1"),
    ({"data.chinese_words": "jieba"}, "needs whole_word_masking"),
    ({"data.span_masking": True, "data.mask_word_once": True}, "cannot be combined"),
    ({"data.vocabulary.unused_slots": 20_000}, "above half of size"),
    ({"model.num_attention_heads": 7}, "not a multiple of num_attention_heads"),
    ({"optimizer.decay": "constant", "optimizer.decay_steps": 5}, "decay_steps needs a decay"),
    (
        {"optimizer.decay": "constant", "optimizer.decay_from_step": 5, "optimizer.decay_from_rate": 1e-4},
        "decay_from_step needs a decay",
    ),
    ({"optimizer.decay": "constant", "train.steps": 500}, "warmup_steps 10000 is not below train.steps 500"),
    ({"optimizer.decay_from_step": 5}, "needs decay_from_rate"),
    (
        {"optimizer.decay_from_step": 5, "optimizer.decay_from_rate": 1e-4, "optimizer.decay_steps": 5},
        "both begin the decay",
    ),
    (
        {"optimizer.decay_from_step": 2_000_000, "optimizer.decay_from_rate": 1e-4},
        "decay_from_step 2000000 is not below train.steps",
    ),
    ({"optimizer.minimum_learning_rate": 0.5}, "is above 0.0001"),
    ({"optimizer.warmup_share": 0.6, "optimizer.decay_steps": 500_000}, "together are above train.steps"),
    ({"train.epochs": 1.0, "train.tokens": 5}, "both determine train.steps"),
    ({"train.micro_batch_tokens": 100}, "is below data.max_seq_length 128, so a row would not fit"),
    (
        {"train.global_batch_tokens": 9999, "train.batch_growth_steps": 9},
        "a batch that grows counts rows; set global_batch_size instead of global_batch_tokens",
    ),
    ({"train.first_global_batch_size": 512, "train.batch_growth_steps": 9}, "above global_batch_size"),
    ({"train.precision": "fp16", "train.zero_stage": 0}, "needs zero_stage 1"),
    ({"train.precision": "fp16", "cluster.device": "cpu"}, 'needs GPUs, but cluster.device is "cpu"'),
    ({"train.gradient_reduction": "bf16", "train.precision": "fp32"}, 'needs precision "bf16"'),
    ({"train.offload_optimizer": True, "train.zero_stage": 0}, "needs zero_stage 1"),
    ({"train.node_partition": True, "train.zero_stage": 2}, "node_partition needs zero_stage 3"),
    ({"train.offload_optimizer": True, "optimizer.name": "lamb"}, 'needs optimizer.name "adamw"'),
    ({"cluster.stop_before_limit_s": 600, "cluster.time_limit_min": 10}, "is not below cluster.time_limit_min"),
    ({"cluster.sbatch_options": ["--nodes=2"]}, "set by bertrain"),
    ({"cluster.srun_options": ["--nta=2"]}, "set by bertrain"),
    ({"cluster.sbatch_options": ["--account=a"], "cluster.account": "b"}, "cluster.account sets --account"),
    ({"cluster.srun_options": ["--cpus-per-task=4"], "cluster.cpu_threads": 2}, "cluster.cpu_threads sets"),
    ({"cluster.sbatch_options": ["--gpus-per-node=4"], "cluster.gpus_per_node": 8}, "cluster.gpus_per_node sets"),
    ({"cluster.sbatch_options": ["--gres=gpu:4"], "cluster.gpus_per_node": 8}, "remove --gres=gpu:4"),
    ({"cluster.sbatch_options": ["--partit=a"], "cluster.partition": "b"}, "cluster.partition sets --partition"),
    ({"cluster.hosts": ["a", "b", "a"], "cluster.nodes": 3}, "cluster.hosts names a twice"),
    ({"data.corpora": [PARQUET | {"text_field": ""}]}, "the name of a field is empty"),
    ({"data.corpora": [PARQUET | {"text_field": ["a", " "]}]}, "is empty; name the field that holds the text"),
    ({"data.corpora": [PARQUET | {"text_field": ["a", "b", "a"]}]}, "names 'a' twice"),
    ({"optimizer.gradient_clipping": 1e-300}, "gradient_clipping 1e-300 clips each gradient to nothing"),
]
SAID: list[tuple[dict[str, Any], str]] = [
    (MODERN | {"model.global_attention_every_n_layers": 1, "model.local_attention": 64}, "no layer attends locally"),
    ({"data.objective": "sop", "data.nsp_mode": "reference"}, "data.nsp_mode"),
    ({"data.near_duplicate_threshold": 0.9}, "data.near_duplicate_threshold"),
    ({"data.decontaminate_words": 5}, "data.decontaminate_words"),
    ({"data.decontaminate_sha256": "0" * 64}, "data.decontaminate_sha256"),
    ({"data.wikitext_templates": {"a": "{1}"}, "data.corpora": [TEXT]}, "data.wikitext_templates"),
    ({"data.corpora": [TEXT | {"text_field": "b"}]}, "data.corpora.0.text_field"),
    ({"data.corpora": [TEXT, PARQUET | {"encoding": "latin-1"}]}, "data.corpora.1.encoding"),
    ({"data.vocabulary.file": "v", "data.vocabulary.min_frequency": 5}, "data.vocabulary.min_frequency"),
    ({"data.max_predictions_per_seq": 10}, "masks 7.8% of a full row"),
    ({"optimizer.decay_power": 2.0}, "optimizer.decay_power"),
    ({"optimizer.decay_from_rate": 1e-5}, "optimizer.decay_from_rate"),
    ({"optimizer.warmup_share": 0.1, "optimizer.warmup_steps": 5}, "optimizer.warmup_steps"),
    ({"optimizer.decay": "constant", "optimizer.minimum_learning_rate": 1e-6}, "optimizer.minimum_learning_rate"),
    ({"train.epochs": 1.0, "train.steps": 20_000}, "train.steps"),
    ({"train.global_batch_tokens": 9999, "train.global_batch_size": 8}, "train.global_batch_size"),
    ({"train.initialise_by": "tiling"}, "train.initialise_by"),
    ({"train.first_global_batch_size": 8}, "train.first_global_batch_size"),
    ({"train.first_global_batch_size": 256, "train.batch_growth_steps": 5}, "train.batch_growth_steps"),
    ({"train.batch_growth_steps": 2_000_000}, "train.batch_growth_steps"),
    ({"train.global_batch_size": 1, "cluster.ranks_per_node": 2}, "train.global_batch_size = 1 is below the 2 ranks"),
    ({"train.global_batch_size": 6, "cluster.nodes": 2, "cluster.ranks_per_node": 4}, "2 of them have no row"),
    ({"train.profile_steps": [2_000_000]}, "train.profile_steps"),
    ({"train.evaluate_rows": 5, "data.held_out_fraction": 0.0}, "train.evaluate_rows"),
    ({"train.evaluate_every_steps": 5, "data.held_out_fraction": 0.0}, "train.evaluate_every_steps"),
    ({"train.evaluate_every_steps": 2_000_000}, "train.evaluate_every_steps"),
    ({"train.stage_gib": 1.0}, "train.stage_gib"),
    ({"train.zero_stage": 3, "cluster.ranks_per_node": 1}, "train.zero_stage"),
    ({"train.gradient_reduction": "bf16", "cluster.ranks_per_node": 1}, "train.gradient_reduction"),
    ({"train.node_partition": True, "train.zero_stage": 3, "cluster.nodes": 1}, "train.node_partition"),
    ({"checkpoint.every_steps": 5, "checkpoint.keep_every_steps": 7}, "checkpoint.keep_every_steps"),
    ({"checkpoint.keep_every_steps": 2_000_000}, "is above train.steps: it keeps no step"),
    ({"cluster.step_timeout_s": 900}, "cluster.step_timeout_s = 900 is limited by cluster.collective_timeout_s = 600"),
    ({"cluster.hosts": ["a", "b"]}, "cluster.hosts names 2 nodes"),
    ({"cluster.device": "cpu", "cluster.gpus_per_node": 8}, "cluster.gpus_per_node"),
]


def recipe(settings: dict[str, Any]) -> Recipe:
    table: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return Recipe.model_validate(table)


@pytest.mark.parametrize(("settings", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        recipe(settings)


@pytest.mark.parametrize(("settings", "words"), SAID, ids=[words for _, words in SAID])
def test_a_setting_without_effect_beside_others_is_said(settings: dict[str, Any], words: str) -> None:
    (sentence,) = idle_settings(recipe(settings))
    assert words in sentence


@pytest.mark.parametrize(
    "settings",
    [
        {"data.decontaminate": ["x"], "data.decontaminate_words": 5},
        {"data.wikitext_templates": {"a": "{1}"}, "data.corpora": [TEXT, {"paths": ["x"], "format": "wikipedia"}]},
        {"data.corpora": [TEXT | {"encoding": "latin-1"}]},
        {"optimizer.decay_from_step": 5, "optimizer.decay_from_rate": 1e-4},
        {"train.zero_stage": 3, "cluster.ranks_per_node": 2},
        {"train.zero_stage": 3, "cluster.ranks_per_node": 1, "cluster.nodes": 2},
        {"train.zero_stage": 2, "train.offload_optimizer": True, "cluster.ranks_per_node": 1},
        {"cluster.step_timeout_s": 900, "cluster.collective_timeout_s": 900},
        {"checkpoint.keep_every_steps": 2_000_000, "train.epochs": 3.0},
        {"train.global_batch_size": 2, "cluster.ranks_per_node": 2},
        {"data.corpora": [PARQUET | {"text_field": ["title", "body"]}]},
        {"cluster.srun_options": ["--gres=gpu:8", "--gpus-per-task=1"], "cluster.gpus_per_node": 8},
        {"cluster.sbatch_options": ["--account=a", "--mem-per-cpu=4G"], "cluster.memory_gib": 8},
    ],
)
def test_a_setting_with_effect_is_not_said(settings: dict[str, Any]) -> None:
    assert idle_settings(recipe(settings)) == []
