"""What TensorBoard shows beside single curves: charts of several curves, the recipe, and its values as hparams."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

HELD_OUT_LOSS = "valid/mlm_loss"
SENTENCES = "sentences: training and held out"
HPARAM_SECTIONS = ("model", "optimizer", "train")
HPARAM_KEYS = ("data.objective", "data.max_seq_length", "data.masked_lm_prob", "data.dupe_factor")

# Custom Scalars: category, chart, tags. Tags are regular expressions that match whole names.
CHARTS: dict[str, dict[str, list[str]]] = {
    "loss": {
        "masked words: training and held out": ["loss/mlm", HELD_OUT_LOSS, "valid/unigram_loss"],
        SENTENCES: ["loss/nsp", "valid/nsp_loss"],
        "accuracy: training and held out": ["accuracy/.*", "valid/.*_accuracy"],
    },
    "throughput": {
        "tokens per second": ["throughput/tokens_per_s"],
        "TFLOP/s per rank": ["throughput/tflops"],
        "lost time (%)": ["throughput/data_wait_pct", "throughput/imbalance_pct"],
        "tokens trained": ["progress/tokens"],
    },
    "optimizer": {
        "learning rate": ["optim/learning_rate"],
        "gradient norm": ["optim/grad_norm"],
        "loss scale": ["optim/loss_scale"],
    },
    "faults": {"since the start": ["faults/skipped_steps", "faults/passed_over_rows", "faults/allocation_retries"]},
}


def layout(objective: str) -> dict[str, dict[str, list[Any]]]:
    """Return `CHARTS` in the form that `SummaryWriter.add_custom_scalars` takes, without those that stay empty."""
    return {
        category: {
            title: ["Multiline", [f"^{tag}$" for tag in tags]]
            for title, tags in charts.items()
            if objective != "none" or title != SENTENCES
        }
        for category, charts in CHARTS.items()
    }


def recipe_tables(recipe_toml: str) -> str:
    """Return a recipe as Markdown: one table of keys and values per section, narrow enough to be read whole."""
    sections: dict[str, list[str]] = {}
    for key, value in _flat(tomllib.loads(recipe_toml)):
        section, _, name = key.partition(".")
        title, name = (section, name) if name else ("run", section)
        sections.setdefault(title, []).append(f"| {name} | `{value}` |")
    return "\n\n".join(
        "\n".join([f"**{title}**\n", "| key | value |", "|:--|:--|", *rows]) for title, rows in sections.items()
    )


def hparams_of(recipe_toml: str) -> dict[str, bool | float | str]:
    """Return the recipe's single values by key, without lists: what runs are compared by."""
    return {
        key: value
        for key, value in _flat(tomllib.loads(recipe_toml))
        if (key.partition(".")[0] in HPARAM_SECTIONS or key in HPARAM_KEYS) and not isinstance(value, list)
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _flat({str(number): each for number, each in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
