"""Left-to-right against bidirectional: `python -m tests.benchmarks.left_to_right --corpus PATH --tasks TASKS.toml`.

The comparison of BERT's paper, section 5.1 ("LTR & No NSP"): the model of the recipe `objectives` is trained in both
ways on the same rows, in the same order, for the same number of steps, with several seeds. Then each model's vectors
are compared where their training objective does not matter: how well they separate the senses of a word, and each task
of TASKS.toml after fine-tuning and by the best linear probe of a layer. Every figure is the mean and the standard
deviation over the seeds. Runs that are complete in FOLDER are used again.

The last line is one JSON object; `ratio` is the share of figures in which the bidirectional mean is ahead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.tasks import load_tasks
from launch.transfer.task_data import open_task
from pretrain.huggingface import Pretrained, load_pretrained
from pretrain.telemetry import read_metrics
from pretrain.transfer import SHIPPED, Spread, read_contexts, separation, word_vectors
from pretrain.transfer.probing import probe
from pretrain.transfer.trials import pretrained_start, try_seed

ATTENTIONS = ("bidirectional", "left_to_right")
WORD = "bank"
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="folder of WikiExtractor output")
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("left_to_right"), help="of the data set and the runs")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("overrides", nargs="*", help="of the recipe, for all runs")
    arguments = parser.parse_args()
    found = {name: list(figures_of_seeds(arguments, name)) for name in ATTENTIONS}
    spreads = {
        name: {figure: Spread.of([of_seed[figure] for of_seed in of_seeds]) for figure in of_seeds[0]}
        for name, of_seeds in found.items()
    }
    compared = [figure for figure in spreads[ATTENTIONS[0]] if not figure.startswith("held-out")]
    for figure in spreads[ATTENTIONS[0]]:
        print(f"{figure:40}" + "".join(f"{name}: {spreads[name][figure]}   " for name in ATTENTIONS))
    if arguments.picture:
        draw(arguments.picture, compared, spreads)
    ahead = [figure for figure in compared if spreads[ATTENTIONS[0]][figure].mean > spreads[ATTENTIONS[1]][figure].mean]
    content = {
        "benchmark": "left_to_right",
        "ratio": round(len(ahead) / len(compared), 3),
        "reference": "the same model, rows and steps with model.attention left_to_right",
        "steps": arguments.steps,
        "seeds": arguments.seeds,
        "figures": {
            name: {figure: [round(one.mean, 4), round(one.deviation, 4)] for figure, one in of_name.items()}
            for name, of_name in spreads.items()
        },
    }
    print(json.dumps(content))


def figures_of_seeds(arguments: argparse.Namespace, attention: str) -> Iterator[Figures]:
    """Yield the figures of the model of each seed."""
    for seed in range(arguments.seeds):
        run = arguments.folder / "runs" / f"{attention}-{seed}"
        train(arguments, attention, seed, run)
        source = load_pretrained(run)
        last = read_metrics(run)[-1]
        found = {"held-out loss minus unigram loss": last["valid_mlm_loss"] - last["valid_unigram_loss"]}
        found |= senses_of(source)
        for task in load_tasks(arguments.tasks):
            found |= figures_of_task(source, task, seed)
        print(f"{run}: {json.dumps({name: round(value, 4) for name, value in found.items()})}", flush=True)
        yield found


def train(arguments: argparse.Namespace, attention: str, seed: int, run: Path) -> None:
    """Prepare the data set unless it is there, and train the run unless it is complete."""
    bertrain, folder = str(Path(sys.executable).with_name("bertrain")), arguments.folder
    settings = [
        f"runs={folder / 'runs'}",
        f"data.dataset={folder / 'dataset'}",
        f"data.corpora.0.paths=[{json.dumps(arguments.corpus)}]",
        "data.objective=none",
        f"train.steps={arguments.steps}",
        *arguments.overrides,
    ]
    if not (folder / "dataset" / "manifest.json").is_file():
        subprocess.run([bertrain, "prepare", "objectives", *settings], check=True, stdout=sys.stderr)
    of_run = [f"name={run.name}", f"model.attention={attention}", f"train.seed={seed}"]
    subprocess.run([bertrain, "train", "objectives", *settings, *of_run], check=True, stdout=sys.stderr)


def senses_of(source: Pretrained) -> Figures:
    """Return how well the best layer, the embeddings aside, separates the senses of the shipped word."""
    contexts = read_contexts(SHIPPED[WORD], WORD)
    senses = [context.sense for context in contexts]
    layers = [separation(vectors_NH, senses) for vectors_NH in word_vectors(source, contexts)[1:]]
    return {
        f"senses of {WORD}, silhouette": max(one.silhouette for one in layers),
        f"senses of {WORD}, accuracy": max(one.accuracy for one in layers),
    }


def figures_of_task(source: Pretrained, task: Any, seed: int) -> Figures:
    """Return the test metric of the fine-tuned model, and of the best layer's probe."""
    settings = task.finetune.fitted_to(source.config.max_position_embeddings)
    start, data = pretrained_start(source.with_dropout(settings.dropout)), open_task(task, settings, source)
    drawn, metric = data.few(task.records, seed) if task.records else data, data.task.watched
    probed = probe(start(seed), drawn, settings, seed)
    trial = try_seed(start, source.config, drawn, settings, seed)
    return {
        f"{task.name}, fine-tuned, {metric}": trial.test.metrics[metric],
        f"{task.name}, probe, {metric}": max(answers.metrics[metric] for answers in probed.layers),
    }


def draw(picture: Path, figures: list[str], spreads: dict[str, dict[str, Spread]]) -> None:
    """Plot the means as bars, with the standard deviations over the seeds."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 0.8 + 0.7 * len(figures)), layout="constrained")
    axes = drawing.subplots()
    for number, name in enumerate(ATTENTIONS):
        places = [place + 0.4 * number for place in range(len(figures))]
        of_name = [spreads[name][figure] for figure in figures]
        deviations = [one.deviation for one in of_name]
        axes.barh(places, [one.mean for one in of_name], 0.38, xerr=deviations, label=name.replace("_", " "), capsize=3)
    axes.set_yticks([place + 0.2 for place in range(len(figures))], figures)
    axes.invert_yaxis()
    axes.set(title="Same model, rows and steps; mean and standard deviation over the seeds")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    drawing.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
