"""The summary at the start of a run: its data, model, batches, and ranks."""

from __future__ import annotations

from configs.schema import ModelConfig, Recipe
from pretrain.checkpoint import TrainingState
from pretrain.data import TrainingData, gradient_accumulation_steps, rows_of_passes
from pretrain.engine import World, rows_of_all_steps
from pretrain.model import bert_parameters, row_flops


def describe_run(recipe: Recipe, data: TrainingData, world: World, state: TrainingState) -> list[str]:
    """Return the summary of a run as lines of plain text."""
    start = f"resumed from step {state.step}" if state.step else "from step 0"
    return [
        f"run      {recipe.runs}/{recipe.name}, {start}",
        *(f"changed  {change}" for change in state.changes),
        *(f"data     {line}" for line in _data(recipe, data)),
        *arithmetic(recipe, data.main.manifest.vocabulary.size, world.world_size, world.device.type),
    ]


def dry_run(recipe: Recipe, data: TrainingData | None, vocabulary_size: int, world_size: int, device: str) -> list[str]:
    """Return the summary of a planned run, with or without its data. FLOPs assume full rows."""
    rows = rows_of_all_steps(recipe.train)
    work = rows * _row_flops(recipe, vocabulary_size)
    return [
        f"run      {recipe.runs}/{recipe.name}",
        *(
            f"data     {line}"
            for line in (_data(recipe, data) if data else [f"{recipe.data.dataset} does not exist yet"])
        ),
        *arithmetic(recipe, vocabulary_size, world_size, device),
        f"work     {rows:,} rows, at most {rows * recipe.data.max_seq_length:,} tokens, {work:.3g} FLOP",
    ]


def arithmetic(recipe: Recipe, vocabulary_size: int, world_size: int, device: str) -> list[str]:
    """Return the lines on the model's size, the batch, and the ranks."""
    return [
        f"model    {_model(recipe, vocabulary_size)}",
        f"batch    {_batch(recipe, world_size)}",
        f"ranks    {world_size} on {device}, ZeRO stage {recipe.train.stage_on(world_size)}, {recipe.train.precision}",
    ]


def _data(recipe: Recipe, data: TrainingData) -> list[str]:
    """Return one line per data set: its size, and the number of epochs of the run."""
    trained_rows = rows_of_all_steps(recipe.train)
    at_most = "at most " if recipe.train.budget_min else ""  # the budget can end training before the last step
    lines = []
    for dataset, weight in zip(data.mixed, data.weights, strict=True):
        manifest, share = dataset.manifest, weight / sum(data.weights)
        passes = [sum(rows) for rows in rows_of_passes(dataset)]
        epochs = trained_rows * share / (sum(passes) / len(passes))
        mixed = "" if len(data.mixed) == 1 else f"{dataset.place}, {share:.1%} of the rows: "
        tokens = sum(shard.tokens for shard in manifest.select("train", 0))
        lines.append(
            f"{mixed}{passes[0]:,} pairs, {tokens:,} tokens per pass, {len(passes)} pass(es); {at_most}{epochs:.2f} "
            f"epochs; vocabulary {manifest.vocabulary.size:,}"
        )
    return lines


def _model(recipe: Recipe, vocabulary_size: int) -> str:
    model, objective = recipe.model, recipe.objective
    words = "next words, left to right" if model.is_left_to_right else "masked words"
    return (
        f"{model.num_hidden_layers} layers x {model.hidden_size}, {model.num_attention_heads} heads, "
        f"{_kind(model)}, {words}{'' if objective == 'none' else f' + {objective}'}, "
        f"{bert_parameters(model, vocabulary_size, objective):,} parameters, "
        f"{_row_flops(recipe, vocabulary_size) / 1e9:.3g} GFLOP per full row"
    )


def _kind(model: ModelConfig) -> str:
    if not model.is_modern:
        return f"{model.norm}-LayerNorm"
    every = model.global_attention_every_n_layers
    local = "" if every == 1 else f", global attention every {every} layers, local over {model.local_attention} tokens"
    return f"ModernBERT{local}"


def _row_flops(recipe: Recipe, vocabulary_size: int) -> int:
    data = recipe.data
    masked_tokens = recipe.predicted_tokens(data.max_seq_length)
    sizes = (recipe.model, vocabulary_size, recipe.objective)
    return row_flops(*sizes, length=data.max_seq_length, masked_tokens=masked_tokens)


def _batch(recipe: Recipe, world_size: int) -> str:
    train = recipe.train
    accumulation = gradient_accumulation_steps(train.global_batch_size, world_size, train.micro_batch_size)
    tokens = f" and {train.micro_batch_tokens:,} tokens" if train.micro_batch_tokens else ""
    micro_steps = f"{'at least ' if tokens else ''}{accumulation} micro-step(s)"
    first, growth = train.first_global_batch_size, train.batch_growth_steps
    budget = f", or until {train.budget_min:,g} min have passed" if train.budget_min else ""
    growing = f", growing from {first} over {growth:,} steps" if growth else ""
    return (
        f"{train.global_batch_size} rows per step{growing} = {world_size} rank(s) x {micro_steps} of at "
        f"most {train.micro_batch_size}{' rows' if tokens else ''}{tokens}; {train.steps:,} steps{budget}"
    )
