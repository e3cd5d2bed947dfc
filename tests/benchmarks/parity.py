"""Compare our trainer with a plain transformers + torch AdamW loop, on the same rows from the same initial weights.

    python -m tests.benchmarks.parity --dataset datasets/enwiki --minutes 15 --output parity.png

The plain loop pads each batch, computes transformers' loss, and takes a step of torch's AdamW in fp32. Ours is the
complete `bertrain train`, with DeepSpeed. The last line is one JSON object; `ratio` is our rows per second over
theirs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from configs.recipe import write_recipe
from configs.schema import Recipe
from preprocessing.dataset.manifest import Manifest, read_manifest
from pretrain.data.dataset import Dataset
from pretrain.data.loader import Loader
from pretrain.engine.schedule import learning_rate_at
from pretrain.huggingface.configuration import to_hugging_face_config
from pretrain.huggingface.conversion import to_hugging_face
from pretrain.huggingface.folder import padded
from pretrain.model.batch import Batch
from pretrain.telemetry.metrics_file import read_metrics
from pretrain.trainer import fresh_model

IGNORED = -100
CALIBRATION_STEPS = 10
EARLY_STEPS = 100  # before rounding differences grow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="a data set that `bertrain prepare` made")
    parser.add_argument("--minutes", type=float, default=15.0, help="training time at the speed of the plain loop")
    parser.add_argument("--output", type=Path, default=Path("parity.png"), help="file of the plot")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=32, help="rows per step")
    parser.add_argument("--threads", type=int, default=1, help="threads of each program; use 1 on a busy machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    manifest = read_manifest(arguments.dataset)
    for _ in range(2):  # the first run compiles
        _, seconds = train_plainly(recipe_of(arguments, manifest, CALIBRATION_STEPS), manifest)
    step_s = seconds / CALIBRATION_STEPS
    recipe = recipe_of(arguments, manifest, max(EARLY_STEPS, round(60 * arguments.minutes / step_s)))
    theirs, their_s = train_plainly(recipe, manifest)
    ours, our_s = train_ours(recipe)
    draw(arguments.output, ours, theirs)
    rows = len(ours) * arguments.rows
    reference = f"transformers {transformers.__version__} and torch AdamW: {rows / their_s:.1f} rows/s"
    figures = compare(ours, theirs) | {"rows_per_s": round(rows / our_s, 1), "picture": str(arguments.output)}
    print(json.dumps({"benchmark": "parity", "ratio": round(their_s / our_s, 2), "reference": reference} | figures))


def recipe_of(arguments: argparse.Namespace, manifest: Manifest, steps: int) -> Recipe:
    """Return a small fp32 recipe without dropout, so that any difference comes from the two programs."""
    hidden_size = arguments.hidden_size
    return Recipe.model_validate(
        {
            "name": "parity",
            "data": {
                "dataset": str(arguments.dataset.absolute()),
                "objective": manifest.objective,
                "max_seq_length": manifest.max_seq_length,
                "max_predictions_per_seq": manifest.max_predictions_per_seq,
                "vocabulary": {"size": manifest.vocabulary.size, "lowercase": manifest.vocabulary.lowercase},
            },
            "model": {
                "hidden_size": hidden_size,
                "num_hidden_layers": arguments.layers,
                "num_attention_heads": max(1, hidden_size // 64),
                "intermediate_size": 4 * hidden_size,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": steps // 20},
            "train": {
                "steps": steps,
                "global_batch_size": arguments.rows,
                "micro_batch_size": arguments.rows,
                "precision": "fp32",
                "log_every_steps": 100,
            },
            "checkpoint": {"every_steps": steps},
            "cluster": {"device": "cpu", "ranks_per_node": 1, "cpu_threads": arguments.threads},
        }
    )


def train_ours(recipe: Recipe) -> tuple[list[float], float]:
    """Return the losses of `bertrain train` per step, and its training seconds."""
    with tempfile.TemporaryDirectory() as folder:
        write_recipe(recipe, Path(folder, "parity.toml"))
        argv = [sys.executable, "-P", "-m", "launch.cli", "train", "parity.toml"]
        subprocess.run(argv, cwd=folder, check=True, stdout=sys.stderr)
        records = read_metrics(Path(folder, "runs/parity"))
    return [record["loss"] for record in records], records[-1]["time_s"]


def train_plainly(recipe: Recipe, manifest: Manifest) -> tuple[list[float], float]:
    """Return the losses of the plain loop per step, and its training seconds."""
    model, optimizer = plain_model(recipe, manifest), recipe.optimizer
    adam = torch.optim.AdamW(
        plain_groups(model, optimizer.weight_decay),
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.eps,
    )
    losses, began = [], time.perf_counter()
    for number, batch in enumerate(batches(recipe, manifest), start=1):
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(number, optimizer, recipe.train.steps)
        loss = model(**inputs_of(batch)).loss
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optimizer.gradient_clipping)
        adam.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - began


def plain_model(recipe: Recipe, manifest: Manifest) -> Any:
    """Return transformers' model with the initial weights of ours."""
    fields = to_hugging_face_config(recipe.model, manifest.vocabulary.size)
    model: Any = transformers.BertForPreTraining(transformers.BertConfig.from_dict(fields))
    model.load_state_dict(to_hugging_face(fresh_model(recipe, manifest).state_dict()), strict=False)
    model.tie_weights()
    return model.train()


def plain_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the usual parameter groups: no decay on biases and LayerNorm."""
    plain = ("bias", "LayerNorm.weight")
    named = list(model.named_parameters())
    return [
        {"params": [weight for name, weight in named if not name.endswith(plain)], "weight_decay": weight_decay},
        {"params": [weight for name, weight in named if name.endswith(plain)], "weight_decay": 0.0},
    ]


def batches(recipe: Recipe, manifest: Manifest) -> Iterator[Batch]:
    """Yield the rows of each step as one batch."""
    train = recipe.train
    loader = Loader(
        [Dataset(recipe.data.dataset, manifest)],
        seed=train.seed,
        shuffle_window_rows=train.shuffle_window_rows,
        rank=0,
        world_size=1,
        micro_batch_size=train.micro_batch_size,
    )
    return (step.batches[0] for step in loader.steps(0, [train.global_batch_size] * train.steps))


def inputs_of(batch: Batch) -> dict[str, Tensor]:
    """Return the inputs of transformers' model: padded, with a label at each masked position."""
    labels = torch.full_like(batch.input_ids, IGNORED)
    labels[batch.masked_positions] = batch.masked_ids
    rows = torch.split(labels, batch.offsets.diff().tolist())
    padded_labels = pad_sequence(list(rows), batch_first=True, padding_value=IGNORED)
    return padded(batch) | {"labels": padded_labels, "next_sentence_label": batch.next_sentence_label}


def compare(ours: list[float], theirs: list[float]) -> dict[str, object]:
    """Return the distance between the curves, and for comparison the changes within a curve from step to step."""
    apart = [abs(mine - other) / other for mine, other in zip(ours, theirs, strict=True)]
    tail = len(ours) // 10
    jumps = [abs(after - before) for before, after in pairwise(theirs[-tail:])]
    final_ours, final_theirs = statistics.fmean(ours[-tail:]), statistics.fmean(theirs[-tail:])
    return {
        "steps": len(ours),
        "relative_difference_first_steps": max(apart[:EARLY_STEPS]),
        "relative_difference_largest": max(apart),
        "loss_first": theirs[0],
        "loss_last_tenth_ours": round(final_ours, 5),
        "loss_last_tenth_theirs": round(final_theirs, 5),
        "step_to_step_noise": round(statistics.fmean(jumps), 5),
        "within_noise": abs(final_ours - final_theirs) < statistics.fmean(jumps),
    }


def draw(path: Path, ours: list[float], theirs: list[float]) -> None:
    """Plot both curves, with their difference below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    curves, apart = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    steps = range(1, len(ours) + 1)
    curves.plot(steps, theirs, color="tab:orange", linewidth=3.0, alpha=0.5, label="transformers + torch AdamW")
    curves.plot(steps, ours, color="tab:blue", linewidth=0.8, label="bertrain")
    curves.set_ylabel("loss (masked words + next sentence)")
    curves.legend()
    differences = [abs(mine - other) / other for mine, other in zip(ours, theirs, strict=True)]
    apart.semilogy(steps, [max(difference, 1e-9) for difference in differences], color="black", linewidth=0.5)
    apart.set_ylabel("relative difference")
    apart.set_xlabel("step")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
