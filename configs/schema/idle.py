"""Settings that do nothing in combination with others. A command names them, so that nobody relies on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path

from configs.schema.recipe import Recipe
from configs.schema.rows import RowsConfig
from configs.schema.section import Section
from configs.schema.text import VocabularyConfig
from configs.schema.training import OptimizerConfig, TrainConfig

_DEFAULTS = Recipe()


def idle_settings(recipe: Recipe) -> list[str]:
    """Return a sentence for each setting that differs from its default and has no effect, or less than it states."""
    found = [
        (key, _value(recipe, key), reason)
        for key, reason in _rules(recipe)
        if _value(recipe, key) != _value(_DEFAULTS, key)
    ]
    sentences = [f"{key} = {value!r} has no effect: {reason}" for key, value, reason in found]
    for number, corpus in enumerate(recipe.data.corpora):
        for name, reason in corpus.idle_keys().items():
            if getattr(corpus, name) != type(corpus).model_fields[name].get_default():
                sentences.append(f"data.corpora.{number}.{name} has no effect: {reason}")
    return [*sentences, *_binding(recipe.data), *_partly_idle(recipe), *_ranks_without_rows(recipe)]


def _rules(recipe: Recipe) -> Iterator[tuple[str, str]]:
    data, train = recipe.data, recipe.train
    yield from ((f"data.{name}", reason) for name, reason in data.idle_keys().items())
    yield from ((f"data.vocabulary.{name}", reason) for name, reason in _rules_of_vocabulary(data.vocabulary))
    if not data.decontaminate:
        yield "data.decontaminate_words", "data.decontaminate names no files"
    yield "data.decontaminate_sha256", "`prepare` states the digest of the files that data.decontaminate names"
    if all(corpus.format != "wikipedia" for corpus in data.corpora):
        yield "data.wikitext_templates", 'no corpus has format = "wikipedia"'
    yield from ((f"model.{name}", reason) for name, reason in recipe.model.idle_keys().items())
    yield from _rules_of_schedules(recipe.optimizer)
    if not train.initialise_from:
        yield "train.initialise_by", "train.initialise_from is unset"
    yield from _rules_of_batches(train)
    if not data.held_out_fraction:
        yield "train.evaluate_every_steps", "data.held_out_fraction is 0, so there are no held-out rows"
        yield "train.evaluate_rows", "data.held_out_fraction is 0, so there are no held-out rows"
    yield from _rules_of_ranks(recipe)
    places = [data.dataset, *(entry.dataset for entry in train.mixture)]
    if train.stage_in is None and not any("://" in place for place in places):
        yield "train.stage_gib", "train.stage_in is unset, and no data set is at a URL"


def _rules_of_vocabulary(vocabulary: VocabularyConfig) -> Iterator[tuple[str, str]]:
    for name, reason in vocabulary.idle_keys().items():
        is_to_come = vocabulary.file is not None and not Path(vocabulary.file).parent.is_dir()
        if name != "size" or not is_to_come:  # a plan takes it for the size of one that is to come
            yield name, reason


def _rules_of_batches(train: TrainConfig) -> Iterator[tuple[str, str]]:
    if train.epochs or train.tokens:
        yield "train.steps", f"train.{'epochs' if train.epochs else 'tokens'} determines it"
    if train.global_batch_tokens:
        yield "train.global_batch_size", "train.global_batch_tokens determines it"
    if not train.batch_growth_steps:
        yield "train.first_global_batch_size", "train.batch_growth_steps is 0"
    elif train.first_global_batch_size == train.global_batch_size:
        yield "train.batch_growth_steps", "train.first_global_batch_size is train.global_batch_size already"


def _rules_of_ranks(recipe: Recipe) -> Iterator[tuple[str, str]]:
    nodes, ranks_per_node = recipe.cluster.nodes, recipe.cluster.ranks_per_node
    if nodes * ranks_per_node == 1:
        yield "train.gradient_reduction", "a single rank sends no gradients"
        if recipe.train.stage_on(1) != recipe.train.zero_stage:
            yield "train.zero_stage", "a single rank has nothing to shard, and trains at stage 0"
    if nodes == 1 or ranks_per_node == 1:
        yield "train.node_partition", "it needs several nodes with several ranks each"


def _rules_of_schedules(optimizer: OptimizerConfig) -> Iterator[tuple[str, str]]:
    if optimizer.decay != "polynomial":
        yield "optimizer.decay_power", f'optimizer.decay is "{optimizer.decay}"'
    if optimizer.warmup_share:
        yield "optimizer.warmup_steps", "optimizer.warmup_share is set"
    if optimizer.decay == "constant":
        yield "optimizer.minimum_learning_rate", 'optimizer.decay is "constant"'
    if not optimizer.decay_from_step:
        yield "optimizer.decay_from_rate", "optimizer.decay_from_step is 0"


def _partly_idle(recipe: Recipe) -> Iterator[str]:
    keep, train = recipe.checkpoint, recipe.train
    if keep.keep_every_steps > train.steps and not (train.epochs or train.tokens):
        yield f"checkpoint.keep_every_steps = {keep.keep_every_steps} is above train.steps: it keeps no step"
    elif keep.keep_every_steps % keep.every_steps:
        yield (
            f"checkpoint.keep_every_steps = {keep.keep_every_steps} is not a multiple of checkpoint.every_steps = "
            f"{keep.every_steps}: only steps that are multiples of both are kept"
        )
    beyond = [step for step in train.profile_steps if step > train.steps]
    if beyond:
        yield f"train.profile_steps: {beyond[0]} is beyond train.steps = {train.steps}, and is not profiled"
    if train.batch_growth_steps > train.steps:
        yield (
            f"train.batch_growth_steps = {train.batch_growth_steps} is above train.steps: the batch never reaches "
            f"train.global_batch_size = {train.global_batch_size}"
        )
    cluster = recipe.cluster
    if cluster.step_timeout_s > cluster.collective_timeout_s:
        yield (
            f"cluster.step_timeout_s = {cluster.step_timeout_s} is limited by cluster.collective_timeout_s = "
            f"{cluster.collective_timeout_s}"
        )
    if cluster.hosts and len(cluster.hosts) != cluster.nodes:
        yield f"cluster.hosts names {len(cluster.hosts)} nodes, but cluster.nodes = {cluster.nodes} are used"
    if cluster.device == "cpu" and cluster.gpus_per_node:
        yield f'cluster.gpus_per_node = {cluster.gpus_per_node} requests GPUs, but cluster.device is "cpu"'
    if train.evaluate_every_steps > train.steps:
        yield f"train.evaluate_every_steps = {train.evaluate_every_steps} is above train.steps: it has no effect"


def _ranks_without_rows(recipe: Recipe) -> Iterator[str]:
    ranks, rows = recipe.cluster.nodes * recipe.cluster.ranks_per_node, recipe.train.global_batch_size
    if rows < ranks and not recipe.train.global_batch_tokens:
        yield (
            f"train.global_batch_size = {rows} is below the {ranks} ranks of cluster.nodes and cluster.ranks_per_node: "
            f"{ranks - rows} of them have no row in a step"
        )


def _binding(data: RowsConfig) -> Iterator[str]:
    most, asked = data.max_predictions_per_seq, round(data.masked_lm_prob * data.max_seq_length)
    if most < asked:
        yield (
            f"data.max_predictions_per_seq = {most} masks {most / data.max_seq_length:.1%} of a full row, not "
            f"data.masked_lm_prob = {data.masked_lm_prob:.1%}; set it to {data.most_expected_masks}, or to 0"
        )


def _value(recipe: Recipe, key: str) -> object:
    section: Section = recipe
    return reduce(getattr, key.split("."), section)
