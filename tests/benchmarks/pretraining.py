"""Pretrain for minutes with ours and transformers: `python -m tests.benchmarks.pretraining --dataset DIR`.

Both start from the same weights and train for the same time on the same rows in the same order, one after the other.
Ours is the complete `bertrain train`. Theirs is transformers' BertForPreTraining with SDPA, padding to the longest
row of the batch, bf16 autocast, torch's fused AdamW, and our learning rates. Evaluations of held-out rows do not
count as training time. The plot shows the held-out masked-LM loss over training time.

The last line is one JSON object. Its `ratio` is the time that theirs took to reach its last held-out loss over the
time that ours took to reach the same loss. Without --dataset the rows are synthetic and offer little to learn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import closing
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional as F

from configs.recipe import write_recipe
from configs.schema import DataConfig, Recipe
from preprocessing.dataset.manifest import Manifest, read_manifest
from pretrain.data.dataset import Dataset
from pretrain.data.loader import HeldOut
from pretrain.data.synthetic import write_synthetic
from pretrain.engine.schedule import last_step_at, learning_rate_at
from pretrain.telemetry.metrics_file import read_metrics
from tests.benchmarks.parity import IGNORED, plain_groups, plain_model
from tests.benchmarks.train_step import Clock, loader_of, padded_inputs

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
STEPS = 1_000_000  # more than fit into the time
TURN_STEPS = 8 if CUDA else 1  # steps between clock readings, which synchronise the GPU
Curve = list[tuple[float, float]]  # training seconds, held-out masked-LM loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a data set that `bertrain prepare` made; else synthetic rows")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each program")
    parser.add_argument("--output", type=Path, default=Path("pretraining.png"), help="file of the plot")
    parser.add_argument("--hidden-size", type=int, default=512 if CUDA else 128)
    parser.add_argument("--layers", type=int, default=4 if CUDA else 2)
    parser.add_argument("--rows", type=int, default=256 if CUDA else 32, help="rows per step")
    parser.add_argument("--evaluations", type=int, default=12, help="approximate number of evaluations of each program")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        dataset = arguments.dataset or Path(temporary) / "dataset"
        if not arguments.dataset:
            write_synthetic(dataset, DataConfig(max_seq_length=128))
        manifest = read_manifest(dataset)
        recipe = recipe_of(arguments, dataset, manifest)
        theirs, every_steps = train_theirs(recipe, manifest, arguments.evaluations)
        evaluated = recipe.train.model_copy(update={"evaluate_every_steps": every_steps})
        ours = train_ours(recipe.model_copy(update={"train": evaluated}), Path(temporary))
    draw(arguments.output, ours, theirs)
    print(json.dumps(report(arguments, ours, theirs)))


def recipe_of(arguments: argparse.Namespace, dataset: Path, manifest: Manifest) -> Recipe:
    """Return the recipe of both programs. Only ours uses DeepSpeed's stage."""
    return Recipe.model_validate(
        {
            "name": "pretraining",
            "data": {
                "dataset": str(dataset.absolute()),
                "objective": manifest.objective,
                "max_seq_length": manifest.max_seq_length,
                "max_predictions_per_seq": manifest.max_predictions_per_seq,
                "dupe_factor": manifest.dupe_factor,
                "vocabulary": {"size": manifest.vocabulary.size, "lowercase": manifest.vocabulary.lowercase},
            },
            "model": {
                "hidden_size": arguments.hidden_size,
                "num_hidden_layers": arguments.layers,
                "num_attention_heads": max(1, arguments.hidden_size // 64),
                "intermediate_size": 4 * arguments.hidden_size,
            },
            "optimizer": {"learning_rate": 5e-4 if CUDA else 1e-3, "warmup_steps": 200 if CUDA else 50},
            "train": {
                "steps": STEPS,
                "budget_min": arguments.minutes,
                "global_batch_size": arguments.rows,
                "micro_batch_size": arguments.rows,
                "evaluate_rows": 2048 if CUDA else 256,
                "log_every_steps": 100,
                "zero_stage": 1,
            },
            "checkpoint": {"every_steps": STEPS},
            "cluster": {"device": DEVICE.type, "ranks_per_node": 1},
        }
    )


def train_ours(recipe: Recipe, folder: Path) -> Curve:
    """Run `bertrain train` and return its held-out losses."""
    write_recipe(recipe, folder / "pretraining.toml")
    argv = [sys.executable, "-P", "-m", "launch.cli", "train", "pretraining.toml"]
    subprocess.run(argv, cwd=folder, check=True, stdout=sys.stderr)
    records = read_metrics(folder / "runs" / "pretraining")
    return [(record["time_s"], record["valid_mlm_loss"]) for record in records if "valid_mlm_loss" in record]


def train_theirs(recipe: Recipe, manifest: Manifest, evaluations: int) -> tuple[Curve, int]:
    """Run a typical transformers loop. Return its held-out losses and the number of steps between them."""
    model, optimizer, curve = plain_model(recipe, manifest).to(DEVICE), recipe.optimizer, Curve()
    adam = torch.optim.AdamW(plain_groups(model, optimizer.weight_decay), eps=optimizer.eps, fused=True)
    budget_s, time_s, number, every_steps = 60 * recipe.train.budget_min, 0.0, 0, 0
    with closing(loader_of(recipe, manifest).steps(0, repeat(recipe.train.global_batch_size))) as steps:
        while time_s < budget_s:
            ready = [
                padded_inputs(step, 0, DEVICE) for step in islice(steps, TURN_STEPS)
            ]  # not part of the measured time
            with Clock(DEVICE) as clock:
                for inputs in ready:
                    number += 1
                    last_step = last_step_at(number - 1, time_s, recipe.train)
                    for group in adam.param_groups:
                        group["lr"] = learning_rate_at(number, optimizer, last_step)
                    with autocast():
                        loss = model(**inputs).loss
                    adam.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), optimizer.gradient_clipping)
                    adam.step()
            time_s += clock.ended[0] - clock.began[0]
            if time_s >= budget_s * min(1.0, (len(curve) + 1) / evaluations):
                every_steps = every_steps or number
                curve.append((time_s, their_held_out_loss(model, recipe, manifest)))
    return curve, every_steps


@torch.no_grad()
def their_held_out_loss(model: Any, recipe: Recipe, manifest: Manifest) -> float:
    """Return the mean loss of the masked words over the rows on which ours is evaluated."""
    train = recipe.train
    rows = HeldOut(
        Dataset(recipe.data.dataset, manifest),
        max_rows=train.evaluate_rows,
        rank=0,
        world_size=1,
        micro_batch_size=train.micro_batch_size,
    )
    total, masked_tokens = 0.0, 0
    model.eval()
    for step in rows.steps():
        inputs = padded_inputs(step, 0, DEVICE)
        labels = inputs.pop("labels")
        with autocast():
            logits = model(**inputs).prediction_logits
        is_masked = labels != IGNORED
        total += F.cross_entropy(logits[is_masked].float(), labels[is_masked], reduction="sum").item()
        masked_tokens += step.masked_tokens
    model.train()
    return total / masked_tokens


def autocast() -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16)


def report(arguments: argparse.Namespace, ours: Curve, theirs: Curve) -> dict[str, object]:
    """Return when each program reached the last loss of theirs, and the last losses of both."""
    target = theirs[-1][1]
    reached_s = seconds_to(target, ours)
    return {
        "benchmark": "pretraining",
        "ratio": round(theirs[-1][0] / reached_s, 3) if reached_s else None,
        "reference": f"transformers {transformers.__version__} eager, SDPA, to its last held-out loss",
        "device": torch.cuda.get_device_name() if CUDA else "CPU",
        "held_out_loss": {"ours": round(ours[-1][1], 4), "theirs": round(target, 4)},
        "curves": {"ours": rounded(ours), "theirs": rounded(theirs)},
        "picture": str(arguments.output),
        "minutes": arguments.minutes,
    }


def seconds_to(loss: float, curve: Curve) -> float | None:
    """Return when a curve first reached this loss, by linear interpolation; None if it never did."""
    earlier = curve[0]
    for later in curve:
        if later[1] <= loss:
            fall = earlier[1] - later[1]
            share = (earlier[1] - loss) / fall if fall > 0 else 1.0
            return earlier[0] + share * (later[0] - earlier[0])
        earlier = later
    return None


def rounded(curve: Curve) -> Curve:
    return [(round(seconds, 1), round(loss, 4)) for seconds, loss in curve]


def draw(path: Path, ours: Curve, theirs: Curve) -> None:
    """Plot the held-out loss over training time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, curve in (("transformers, eager", theirs), ("bertrain", ours)):
        axes.plot(*zip(*curve, strict=True), marker="o", label=name)
    axes.set_xlabel("training time, s")
    axes.set_ylabel("held-out masked-LM loss (nats)")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
