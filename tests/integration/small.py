"""Shared parts of the integration tests: a small corpus and recipe, and the `bertrain` command as a process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
WORDS = [first + last for first in SYLLABLES[::3] for last in SYLLABLES[::4]]

RECIPE = """\
name = "small"
[data]
dataset = "dataset"
max_seq_length = 48
max_predictions_per_seq = 8
dupe_factor = 2
held_out_fraction = 0.1
[[data.corpora]]
paths = ["corpus.txt"]
format = "text"
[data.vocabulary]
size = 300
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 64
max_position_embeddings = 48
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[train]
steps = 12
global_batch_size = 16
micro_batch_size = 4
zero_stage = 2
log_every_steps = 1
[checkpoint]
every_steps = 5
[cluster]
device = "cpu"
ranks_per_node = 2
cpu_threads = 1
"""


def corpus(documents: int, seed: int = 0) -> str:
    """Return documents of invented sentences, separated by blank lines."""
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(4, 12))).capitalize() + "."

    return "\n\n".join("\n".join(sentence() for _ in range(draw.randint(3, 9))) for _ in range(documents)) + "\n"


def write_small(folder: Path, documents: int = 200) -> None:
    """Write corpus.txt and recipe.toml to `folder`."""
    (folder / "corpus.txt").write_text(corpus(documents))
    (folder / "recipe.toml").write_text(RECIPE)


def bertrain(folder: Path, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `bertrain ARGUMENTS` in `folder` and wait for its end."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `bertrain ARGUMENTS` in `folder` in the background."""
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def command(*arguments: str) -> Sequence[str]:
    """Return the argument list of a `bertrain` command."""
    return [sys.executable, "-P", "-m", "launch.cli", *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment without another launcher's variables, and with plain output."""
    ranks = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return {name: value for name, value in os.environ.items() if name not in ranks} | {"COLUMNS": "160"}
