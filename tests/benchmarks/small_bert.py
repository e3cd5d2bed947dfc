"""The small BERT that the trainer's benchmarks train on full synthetic rows of 128 tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from configs.recipe import load_recipe
from configs.schema import Recipe


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model's shape to the command line."""
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)


def recipe_of(arguments: argparse.Namespace, folder: Path, *settings: str) -> Recipe:
    """Return a recipe with one CPU thread per rank, and data set and runs in `folder`.

    `settings` are written as on the command line of `bertrain train`.
    """
    shape = [
        f"runs={folder}", f"data.dataset={folder}/dataset", "data.max_seq_length=128",
        "data.max_predictions_per_seq=20", "data.vocabulary.size=8192", "model.max_position_embeddings=128",
        f"model.hidden_size={arguments.hidden_size}", f"model.num_hidden_layers={arguments.layers}",
        f"model.num_attention_heads={arguments.hidden_size // 64}",
        f"model.intermediate_size={4 * arguments.hidden_size}", "optimizer.warmup_steps=1", "cluster.device=cpu",
        "cluster.cpu_threads=1", "data.dupe_factor=1", "data.random_token_prob=0",
    ]  # fmt: skip
    return load_recipe("demo", [*shape, *settings])
