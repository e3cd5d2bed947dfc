"""The first lines of a run: what is trained, on what, and the arithmetic of its batches."""

from __future__ import annotations

from configs.schema import Recipe
from preprocessing.contract import Manifest
from pretrain import flops
from pretrain.checkpoint import State
from pretrain.deal import gradient_accumulation_steps
from pretrain.distributed import World


def summary(recipe: Recipe, manifest: Manifest, world: World, state: State) -> list[str]:
    """Lines for the console, in plain text."""
    start = f"resumed from step {state.step}" if state.step else "from step 0"
    return [
        f"run      {recipe.runs}/{recipe.name}, {start}",
        f"data     {_data(manifest)}",
        f"model    {_model(recipe, manifest)}",
        f"batch    {_batch(recipe, manifest, world)}",
        f"ranks    {world.world_size} on {world.device.type}, ZeRO stage {recipe.train.zero_stage}, "
        f"{recipe.train.precision}",
    ]


def _data(manifest: Manifest) -> str:
    train = manifest.select("train", 0)
    rows, tokens = sum(shard.rows for shard in train), sum(shard.tokens for shard in train)
    passes = f"{manifest.dupe_factor} passes" if manifest.dupe_factor > 1 else "1 pass"
    return f"{rows:,} pairs, {tokens:,} tokens a pass, {passes}; vocabulary {manifest.vocabulary.size:,}"


def _model(recipe: Recipe, manifest: Manifest) -> str:
    model, data = recipe.model, recipe.data
    sizes = (model, manifest.vocabulary.size, manifest.objective)
    masked_tokens = min(data.max_predictions_per_seq, round(data.masked_lm_prob * data.max_seq_length))
    row = flops.row_flops(*sizes, length=data.max_seq_length, masked_tokens=masked_tokens)
    return (
        f"{model.num_hidden_layers} layers x {model.hidden_size}, {model.num_attention_heads} heads, "
        f"{model.norm}-LayerNorm, masked words{'' if manifest.objective == 'none' else f' + {manifest.objective}'}, "
        f"{flops.bert_parameters(*sizes):,} parameters, {row / 1e9:.3g} GFLOP a full row"
    )


def _batch(recipe: Recipe, manifest: Manifest, world: World) -> str:
    train = recipe.train
    accumulation = gradient_accumulation_steps(train.global_batch_size, world.world_size, train.micro_batch_size)
    epochs = train.steps * train.global_batch_size / sum(shard.rows for shard in manifest.select("train", 0))
    return (
        f"{train.global_batch_size} rows a step = {world.world_size} rank(s) x {accumulation} micro-step(s) of at most "
        f"{train.micro_batch_size}; {train.steps:,} steps are {epochs:.2f} epochs"
    )
