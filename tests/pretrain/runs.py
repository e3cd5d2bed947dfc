"""A run's folder as written by training, but created without training: random weights and rows, real words."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.files import sha256_of_file
from configs.recipe import write_recipe
from configs.run_layout import CHECKPOINTS, METRICS
from configs.schema import Objective, Recipe
from preprocessing.dataset.manifest import VOCABULARY, write_manifest
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from pretrain.checkpoint.fragment_files import write_fragments
from pretrain.checkpoint.state import FileEntry, TrainingState, state_text
from pretrain.engine.partition import Fragment
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.synthetic import write_dataset

WORDS = ("the", "of", "and", "is", "was", "good", "bad", "river", "bank", "money", "film", "cat", "paris", ".", "?")
LETTERS = tuple(string.ascii_lowercase) + tuple(f"##{letter}" for letter in string.ascii_lowercase)
VOCAB = Vocabulary((*SPECIAL_TOKENS, *WORDS, *LETTERS), lowercase=True)

MODEL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
    "initializer_range": 0.2,
}


MODERN: dict[str, Any] = {
    "architecture": "modernbert",
    "num_hidden_layers": 4,
    "local_attention": 6,
    "layer_norm_eps": 1e-5,
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
}


def some_model(seed: int = 0, objective: Objective = "nsp", **changes: Any) -> BertForPreTraining:
    """A model whose biases and norms differ from their initial values, so that a test detects a lost one."""
    recipe = Recipe.model_validate({"model": MODEL | changes, "data": {"max_seq_length": 32, "objective": objective}})
    torch.manual_seed(seed)
    model = BertForPreTraining(recipe.model, len(VOCAB), objective)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model.eval()


def write_run(folder: Path, model: BertForPreTraining, *, step: int = 7, held_out: int = 40, **changes: Any) -> Path:
    """Create the run `folder`/runs/small with its data set, one checkpoint, and records up to its step."""
    dataset, run = folder / "dataset", folder / "runs" / "small"
    manifest = write_dataset(dataset, [[60]], [held_out] if held_out else [], vocabulary_size=len(VOCAB))
    VOCAB.write(dataset / VOCABULARY)
    objective: Objective = "none" if model.next_sentence is None else "nsp"
    write_manifest(dataset, manifest.model_copy(update={"vocabulary": VOCAB.entry(), "objective": objective}))
    run.mkdir(parents=True)
    data = {"dataset": str(dataset), "max_seq_length": 32, "objective": objective, "vocabulary": {"size": 100}}
    tables = {"name": "small", "runs": str(run.parent), "data": data, "model": MODEL | changes}
    write_recipe(Recipe.model_validate(tables), run / "recipe.toml")
    write_checkpoint(run, dict(model.named_parameters()), step)
    records = [{"step": n, "mlm_loss": 5 / n, "mlm_accuracy": 0.1, "nsp_accuracy": 0.5} for n in range(1, step + 3)]
    evaluated = {"loss": 2.0, "accuracy": 0.3}
    valid = {f"valid_{kind}_{name}": value for kind in ("mlm", "nsp") for name, value in evaluated.items()}
    records[step - 1] |= valid | {"valid_unigram_loss": 4.0, "valid_rows": 40, "valid_masked_tokens": 123}
    (run / METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def write_checkpoint(run: Path, parameters: dict[str, Tensor], step: int) -> None:
    """Write a checkpoint of one rank with the same files as a training."""
    folder = run / CHECKPOINTS / f"step_{step:08d}"
    folder.mkdir(parents=True)
    path = folder / "rank_00000.safetensors"
    flat = {name: parameter.detach().reshape(-1) for name, parameter in parameters.items()}
    zeros = {name: (torch.zeros_like(weights), torch.zeros_like(weights)) for name, weights in flat.items()}
    write_fragments(path, [Fragment(name, 0, weights, *zeros[name]) for name, weights in flat.items()])
    state = TrainingState(
        step=step,
        cursor=0,
        parameters={name: tuple(parameter.shape) for name, parameter in parameters.items()},
        files=[FileEntry(name=path.name, bytes=path.stat().st_size, sha256=sha256_of_file(path))],
    )
    (folder / "state.json").write_text(state_text(state))
