"""What can be observed of a recipe: a data set's bytes, a training's records and files, scripts, and commands.

Everything is real, in this process: `prepare` reads a small corpus, and the `Trainer` trains a few steps. Observations
are kept, so that rows that start from the same settings share them.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.modules.module import register_module_forward_hook

from configs.errors import UserError
from configs.recipe import write_recipe
from configs.run_layout import CHECKPOINTS, RECIPE, TENSORBOARD
from configs.schema import DataConfig, Recipe
from launch.cluster import batch_script
from launch.cluster.mpi import mpirun_argv
from launch.ranks.local import Machine, plan_ranks
from preprocessing.dataset import Manifest, Rows, read_manifest, read_shard
from preprocessing.execution import stages
from preprocessing.execution.engines.runner import run_pipeline
from preprocessing.pipeline import prepare
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary
from pretrain import trainer as training
from pretrain.checkpoint.cadence import Cadence
from pretrain.engine.deepspeed_setup import partitions_in_nodes
from pretrain.engine.distributed import World
from pretrain.huggingface.model_card import front_matter
from pretrain.kernels.dispatch import choose_kernels
from pretrain.model import BertForPreTraining
from pretrain.stop import StopRequest
from pretrain.telemetry import read_metrics

MACHINE = Machine(gpus=2, cores=8)
SITE = batch_script.Site(Path("/home/you"), "/home/you/venv/bin/python")
TRACKED = "tracked"  # folder in a run, where MLflow writes
TWO_NODES = World(world_size=4, local_world_size=2)
PADDED_TO = 64  # what the row of `train.pad_tokens_to` sets
SECONDS_PER_LOOK = 40.0  # of the clock that decides when to save


@dataclass
class Seen:
    """The facts about a recipe, by name, and what the rows' descriptions look at beside them."""

    recipe: Recipe
    facts: dict[str, Any] = field(default_factory=dict)
    dataset: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""
    run: Path | None = None

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    @property
    def manifest(self) -> Manifest:
        """The data set's manifest."""
        assert self.dataset
        return read_manifest(self.dataset)

    def rows(self, split: str = "train") -> Iterator[Rows]:
        """Yield the shards of a split in all passes."""
        assert self.dataset
        for shard in self.manifest.shards:
            if shard.split == split:
                yield read_shard(self.dataset / shard.name)

    def words(self) -> list[str]:
        """The vocabulary."""
        assert self.dataset
        return list(Vocabulary.of_data_set(store_at(self.dataset), self.manifest.vocabulary).pieces)

    def originals(self) -> Iterator[tuple[list[str], list[int]]]:
        """Yield each training row: its pieces before masking, and its masked positions."""
        words = self.words()
        for shard in self.rows():
            for row in range(len(shard)):
                inputs = slice(*shard.input_offsets[row : row + 2])
                masked = slice(*shard.masked_offsets[row : row + 2])
                ids, at = np.array(shard.input_ids[inputs]), shard.masked_lm_positions[masked]
                ids[at] = shard.masked_lm_ids[masked]
                yield [words[number] for number in ids], at.tolist()


class Observer:
    """Observes recipes in a folder, each once."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, world: World) -> None:
        self.folder, self.patch, self.world = folder, patch, world
        self._prepared: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, Seen] = {}

    def see(self, recipe: Recipe, *, trains: bool) -> Seen:
        """Return the facts about a recipe. Those about its training only if it `trains`."""
        name = _digest(recipe.model_dump_json() + str(trains))
        if name not in self._seen:
            self._seen[name] = self._observe(recipe, name, trains)
        return self._seen[name]

    def _observe(self, recipe: Recipe, name: str, trains: bool) -> Seen:
        seen = Seen(recipe, _of_scripts(recipe) | {"license": yaml.safe_load(front_matter(recipe, []))["license"]})
        seen.facts |= self._of_data(recipe.data)
        if seen["refusal"]:
            return seen
        seen.dataset = Path(recipe.data.dataset)
        seen.facts["weights"] = _weights(training.fresh_model(recipe, seen.manifest))
        if trains:
            seen.facts |= self._of_training(recipe, self.folder / "trained" / name, seen)
        return seen

    def _of_data(self, data: DataConfig) -> dict[str, Any]:
        key = data.model_dump_json()
        if key not in self._prepared:
            workers: list[int] = []
            with self.patch.context() as patch:
                patch.setattr(stages, "run_pipeline", _noting(workers, run_pipeline))
                try:
                    manifest = prepare(data)
                except UserError as error:
                    self._prepared[key] = {"refusal": str(error)}
                else:
                    self._prepared[key] = _of_dataset(manifest) | {"workers": max(workers), "refusal": ""}
        return self._prepared[key]

    def _of_training(self, recipe: Recipe, run: Path, seen: Seen) -> dict[str, Any]:
        """Train the recipe, with a clock of its own that decides when to save."""
        run.mkdir(parents=True)
        write_recipe(recipe, run / RECIPE)
        looks = count(1)
        calls: Counter[str] = Counter()
        begun: list[bool] = []
        printed = io.StringIO()
        tokens: list[int] = []

        def note(module: torch.nn.Module, inputs: tuple[Any, ...], _: object) -> None:
            calls.update([type(module).__name__])
            if isinstance(module, BertForPreTraining) and module.training:
                tokens.append(len(inputs[0].input_ids))

        hook = register_module_forward_hook(note)
        choose_kernels.cache_clear()
        with self.patch.context() as patch, redirect_stdout(printed):
            patch.delenv("TRITON_INTERPRET", raising=False)
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            patch.setenv("MLFLOW_TRACKING_URI", (run / TRACKED).as_uri())
            clock = partial(Cadence, clock=lambda: SECONDS_PER_LOOK * next(looks))
            patch.setattr(training, "Cadence", clock)
            try:
                trainer = training.Trainer(run, recipe, self.world, StopRequest())
                _spoil(trainer)
                _note_saves(trainer, begun)
                trainer.train("auto")
            except UserError as error:
                return {"refusal": str(error).replace(str(run), "RUN")}
            finally:
                hook.remove()
                choose_kernels.cache_clear()
        seen.run, seen.records, seen.printed = run, read_metrics(run), printed.getvalue()
        facts = of_records(seen.records) | _of_files(run, recipe.train.stage_in)
        said = [int(step) for step in re.findall(r"^step (\d+)/", seen.printed, re.MULTILINE)]
        shape = re.findall(r"^(?:batch|ranks) .*", seen.printed, re.MULTILINE)
        return facts | {
            "forwards": dict(calls), "in_background": all(begun), "said": said, "shape": shape,
            "limits": trainer.step_limit_s, "padded": all(count % PADDED_TO == 0 for count in tokens),
        }  # fmt: skip


def _noting(found: list[int], run: Callable[..., None]) -> Callable[..., None]:
    """Return `run_pipeline`, which notes its number of workers."""

    def noting(build: Any, engine: Any, workers: int, *others: Any) -> None:
        found.append(workers)
        run(build, engine, workers, *others)

    return noting


def _spoil(trainer: training.Trainer) -> None:
    """Multiply the losses of the steps that the run's name states: `nan-3-5` or `huge-40-40`."""
    match = re.fullmatch(r"(nan|huge)-(\d+)-(\d+)", trainer.recipe.name)
    if not match:
        return
    factor, steps = {"nan": float("nan"), "huge": 3.0}[match[1]], range(int(match[2]), int(match[3]) + 1)
    train_step, forward, number = trainer._train_step, trainer.engine.forward, 0

    def watched_step(state: Any, step: Any) -> Any:
        nonlocal number
        number = state.step + 1
        return train_step(state, step)

    def spoiling_forward(batch: object) -> tuple[Any, ...]:
        first, *others = forward(batch)
        return (first * factor if number in steps else first, *others)

    vars(trainer)["_train_step"], vars(trainer.engine)["forward"] = watched_step, spoiling_forward


def _note_saves(trainer: training.Trainer, begun: list[bool]) -> None:
    """Note of each save before the last step whether training continued while it was written."""
    begin = trainer.saver.begin

    def noting(state: Any, *, in_background: bool) -> None:
        begin(state, in_background=in_background)
        if not trainer._is_over(state):
            begun.append(in_background)

    vars(trainer.saver)["begin"] = noting


def _of_scripts(recipe: Recipe) -> dict[str, Any]:
    run = Path("/home/you") / recipe.runs / recipe.name
    scripts = [
        batch_script.render(recipe, run, SITE, stage, output=Path("/home/you/bert"))
        for stage in batch_script.JOB_STAGES
    ]
    try:
        local = [vars(command) for command in plan_ranks(recipe, run, [], MACHINE)]
    except UserError as error:
        local = [{"refusal": str(error)}]
    return {
        "place": f"{recipe.runs}/{recipe.name}",
        "gathers": "within nodes" if partitions_in_nodes(recipe.train, TWO_NODES) else "among all",
        "script": "\n".join(scripts),
        "ranks": {"local": local, "mpi": mpirun_argv(recipe, run, 1, as_root=False)},
    }


def _of_dataset(manifest: Manifest) -> dict[str, Any]:
    return {
        "shards": [(shard.name, shard.sha256) for shard in manifest.shards],
        "vocabulary": manifest.vocabulary.sha256,
        "documents": [manifest.drops, manifest.statistics.documents],
    }


def _weights(model: torch.nn.Module) -> dict[str, Any]:
    return {
        name: (tuple(weight.shape), _digest(weight.detach().numpy().tobytes()))
        for name, weight in model.named_parameters()
    }


def of_records(records: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [record for record in records if "loss" in record]
    evaluated = [(record["step"], record["valid_rows"]) for record in records if "valid_rows" in record]
    return {
        "rows": [record["rows"] for record in steps],
        "rates": [record["learning_rate"] for record in steps],
        "losses": [(record["loss"], record["grad_norm"]) for record in steps],
        "skipped": [record["step"] for record in steps if record["skipped"]],
        "evaluations": evaluated,
    }


def _of_files(run: Path, stage: str | None) -> dict[str, Any]:
    staged = [file for file in Path(stage).rglob("*") if len(file.name) == 64] if stage else []
    return {
        "checkpoints": sorted(folder.name for folder in (run / CHECKPOINTS).glob("step_*")),
        "tracked": sorted(
            str(file.relative_to(run)).partition("/metrics/")[2]
            for file in run.glob(f"{TRACKED}/*/*/metrics/**/*")
            if file.is_file()
        ),
        "histograms": _histogram_steps(run),
        "traces": sorted(file.name for file in run.glob("profile/*")),
        "staged": sorted(file.name for file in staged),
    }


def _histogram_steps(run: Path) -> list[int]:
    board = EventAccumulator(str(run / TENSORBOARD)).Reload()
    return sorted({event.step for tag in board.Tags()["histograms"] for event in board.Histograms(tag)})


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
