"""Loading of a pretrained model from a run, one of its checkpoints, or a Hugging Face folder.

Export, mask filling, transfer and the initialisation of another pretraining use it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import UserError
from configs.recipe import recipe_of_run
from configs.run_layout import CHECKPOINTS, RECIPE
from configs.schema import ModelConfig, Objective, Recipe
from preprocessing.vocabulary import CONTINUATION, Vocabulary
from pretrain.checkpoint import (
    TRAINING_FIELDS,
    TrainingState,
    check_model,
    find_checkpoint,
    load_weights,
    read_state,
)
from pretrain.data import Dataset, RunData, kept_data, open_dataset
from pretrain.engine import seed_everything
from pretrain.huggingface.conversion import OPTIONAL_PARTS
from pretrain.huggingface.folder import config_of, read_hugging_face_folder
from pretrain.huggingface.tokenizer_settings import UNSTATED, Casing
from pretrain.model import SIZES, BertForPreTraining, BertModel, tiled_weights

ADAPTER = "adapter_config.json"  # of a PEFT adapter
ROTARY_FIELDS = ("global_rotary_base", "local_rotary_base", "max_position_embeddings")  # no weight depends on them
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")  # a model's name on the Hugging Face Hub

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """A model's fp32 weights by our names, its configuration and vocabulary. Heads missing in the source are absent."""

    place: Path
    config: ModelConfig
    vocabulary: Vocabulary
    weights: dict[str, Tensor]
    step: int | None = None  # the checkpoint's step; None for a Hugging Face folder

    @property
    def missing_parts(self) -> list[str]:
        """The names of those of pooler, masked-LM head and next-sentence head that the source lacks."""
        return [part for part in OPTIONAL_PARTS if not any(name.startswith(part) for name in self.weights)]

    @property
    def objective(self) -> Objective:
        """`none` for a model without a next-sentence head, else `nsp`."""
        return "none" if "next_sentence" in self.missing_parts else "nsp"

    def model(self, objective: Objective, seed: int = 0) -> BertForPreTraining:
        """Return the complete model for an objective; parts missing in the source are initialised from `seed`."""
        seed_everything(seed)
        model = BertForPreTraining(self.config, len(self.vocabulary), objective)
        _load(model, self.weights)
        return model

    def encoder(self, seed: int = 0) -> BertModel:
        """Return the encoder with its pooler; a missing pooler is initialised from `seed`.

        ModernBERT's starts as the first layers of the masked-LM head, as in transformers, if the source has that head.
        """
        model = self.model("nsp", seed)
        if self.config.is_modern and "bert.pooler" in self.missing_parts and "masked_lm" not in self.missing_parts:
            for part in ("dense.weight", "norm.weight"):
                model.get_parameter(f"bert.pooler.{part}").data.copy_(self.weights[f"masked_lm.{part}"])
        return model.bert

    def with_dropout(self, probability: float | None) -> Pretrained:
        """Return a copy with this probability for every dropout; with None, return it unchanged."""
        if probability is None:
            return self
        dropout = {"hidden_dropout_prob": probability, "attention_probs_dropout_prob": probability}
        return replace(self, config=self.config.model_copy(update=dropout))

    def initialise(
        self, model: BertForPreTraining, config: ModelConfig, vocabulary: Vocabulary, *, tiles: bool = False
    ) -> None:
        """Copy these weights into `model`, which has `config` and `vocabulary`; missing heads keep their values.

        With `tiles`, the model can be larger, and is filled with copies of these weights. `vocabulary` must begin with
        this model's word pieces. The vector of an added piece is initialised to the mean of the pieces into which this
        model's vocabulary splits it. Raises `UserError` when shape or vocabulary do not match.
        """
        self._check_shape(config, tiles=tiles)
        self._check_vocabulary(vocabulary)
        weights = {name: self._with_new_pieces(name, weight, vocabulary) for name, weight in self.weights.items()}
        _load(model, tiled_weights(weights, self.config, config) if tiles else weights)

    def _check_shape(self, config: ModelConfig, *, tiles: bool) -> None:
        """Raise `UserError` if a field has another value than these weights, unless they do not depend on it.

        A rotary base, and the number of rotary positions, can change. With `tiles`, sizes can grow.
        """
        free = {*TRAINING_FIELDS, *(ROTARY_FIELDS if config.is_modern else ())}
        for name in ModelConfig.model_fields:
            mine, requested = getattr(self.config, name), getattr(config, name)
            if mine == requested or name in TRAINING_FIELDS or (tiles and name in SIZES and mine < requested):
                continue
            if name in free:
                logger.warning("model.%s is %s, and was %s for the weights to start from", name, requested, mine)
                continue
            cause = f"model.{name} is {requested}, but the weights to initialise from have {mine}"
            larger = name in SIZES and mine < requested
            others = ", or train.initialise_by=tiling to start a larger model from them" if larger else ""
            raise UserError(cause, place=str(self.place), fix=f"set model.{name}={mine}{others}")
        widths = [one.hidden_size // one.num_attention_heads for one in (self.config, config)]
        if widths[0] != widths[1]:
            cause = f"the heads are {widths[1]} wide, but those of the weights to initialise from {widths[0]}"
            fix = f"set model.num_attention_heads={config.hidden_size // widths[0]}"
            if config.hidden_size % widths[0]:
                fix = f"set model.hidden_size to a multiple of {widths[0]}, and model.num_attention_heads accordingly"
            raise UserError(cause, place=str(self.place), fix=fix)

    def _check_vocabulary(self, vocabulary: Vocabulary) -> None:
        pieces, fix = self.vocabulary.pieces, "prepare the data set with this model's vocabulary: data.vocabulary.file"
        if vocabulary.lowercase != self.vocabulary.lowercase:
            cause = "one of the data set and the weights to initialise from is lower-cased, the other cased"
            casing = f"data.vocabulary.lowercase={str(self.vocabulary.lowercase).lower()}"
            raise UserError(cause, place=str(self.place), fix=f"{fix}, and set {casing}")
        if vocabulary.strip_accents != self.vocabulary.strip_accents:
            cause = "only one of the data set and the weights to initialise from has accents stripped"
            accents = f"data.vocabulary.strip_accents={str(self.vocabulary.strip_accents).lower()}"
            raise UserError(cause, place=str(self.place), fix=f"{fix}, and set {accents}")
        if vocabulary.pieces[: len(pieces)] != pieces or vocabulary.source != self.vocabulary.source:
            cause = "the data set's vocabulary does not begin with the vocabulary of the weights to initialise from"
            raise UserError(cause, place=str(self.place), fix=fix)

    def _with_new_pieces(self, name: str, weight: Tensor, vocabulary: Vocabulary) -> Tensor:
        added = vocabulary.pieces[len(self.vocabulary) :]
        if not added or name not in ("bert.embeddings.word.weight", "masked_lm.decoder.bias"):
            return weight
        tokenizer = self.vocabulary.tokenizer()
        parts = [tokenizer.encode(piece.removeprefix(CONTINUATION), add_special_tokens=False).ids for piece in added]
        return torch.cat([weight, torch.stack([weight[ids].mean(0) for ids in parts])])


def load_pretrained(place: Path, unstated: Casing = UNSTATED) -> Pretrained:
    """Read the model at `place`, and check that its weights are finite.

    Raises `UserError` when they are not, and like `_read`.
    """
    source = _read(place, unstated)
    spoiled = next((name for name, weight in source.weights.items() if not bool(weight.isfinite().all())), None)
    if spoiled:
        fix = "give an earlier checkpoint, or another model"
        raise UserError(f"weights are not finite: {spoiled}; the model has diverged", place=str(place), fix=fix)
    return source


def _read(place: Path, unstated: Casing) -> Pretrained:
    """Read a run (its newest valid checkpoint), a checkpoint's folder, or a Hugging Face folder.

    `unstated` is the casing of a Hugging Face folder whose files state none. Raises `UserError` when it is none of
    these, or a run of an earlier version, which keeps no vocabulary, and whose data set is missing.
    """
    if config_of(place):
        return Pretrained(place, *read_hugging_face_folder(place, unstated))
    run = run_of(place)
    recipe = recipe_of(run)
    vocabulary = data_of(run, recipe).vocabulary
    folder = find_checkpoint(place)
    if folder is None:
        raise UserError("no checkpoint yet", place=str(run), fix=f"train it first: `bertrain train {run}`")
    state = read_state(folder)
    _check_is_of(run, recipe, state, len(vocabulary))
    return Pretrained(place, recipe.model, vocabulary, load_weights(folder), state.step)


def _check_is_of(run: Path, recipe: Recipe, state: TrainingState, vocabulary_size: int) -> None:
    """Raise `UserError` if the checkpoint is of another model than the recipe, e.g. because the recipe was edited."""
    check_model(state, recipe.model, run / RECIPE)
    with torch.device("meta"):
        model = BertForPreTraining(recipe.model, vocabulary_size, recipe.objective)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name, shape in state.parameters.items():
        if shapes.get(name, shape) != shape:
            cause = f"{name} has shape {shapes[name]}, but {shape} in the checkpoint of step {state.step}"
            raise UserError(cause, place=str(run / RECIPE), fix="restore the recipe with which the run was trained")


def run_of(place: Path) -> Path:
    """Return the folder of the run; `place` is that folder or one of its checkpoints."""
    return place.absolute().parent.parent if place.absolute().parent.name == CHECKPOINTS else place


def recipe_of(run: Path) -> Recipe:
    """Return the recipe in a run's folder; raises `UserError` when the folder is not a run."""
    if not (run / RECIPE).is_file():
        if (run / ADAPTER).is_file():
            fix = "merge it with `merge_and_unload()` of peft, and save that model with `save_pretrained(folder)`"
            raise UserError("a PEFT adapter, without the model that it changes", place=str(run), fix=fix)
        fix = "give the folder of a run, one of its checkpoints, or a folder with Hugging Face's config.json"
        inside = [folder for folder in sorted(run.glob("*")) if config_of(folder)]
        if inside:
            fix = f"give the folder of a model in it: {inside[0]}"
        if not run.exists() and HUB_ID.fullmatch(str(run)):
            fix += f"; to download a model of that name from the Hub: `hf download {run} --local-dir {run.name}`"
        raise UserError("no pretrained model", place=str(run), fix=fix)
    return recipe_of_run(run)


def data_of(run: Path, recipe: Recipe) -> RunData:
    """Return what the run keeps of its data set; for a run of an earlier version, read it from the data set."""
    return kept_data(run) or RunData.of(dataset_of(run, recipe))


def dataset_of(run: Path, recipe: Recipe) -> Dataset:
    """Open the run's data set, in a folder or at a URL; raises `UserError` when it is missing."""
    try:
        return open_dataset(recipe.data.dataset, recipe.train)
    except UserError as error:
        cause = f"cannot open its data set, which holds the vocabulary: {recipe.data.dataset}: {error.cause}"
        fix = f"put it back, or make it again: `bertrain prepare {run}`"
        raise UserError(cause, place=str(run), fix=fix) from error


def _load(model: BertForPreTraining, weights: dict[str, Tensor]) -> None:
    """Load `weights` into `model`.

    Heads that the model lacks, because of another objective, are ignored. Heads that the weights lack keep their
    values.
    """
    report = model.load_state_dict(weights, strict=False)
    fresh = [name for name in report.missing_keys if name != "masked_lm.decoder.weight"]
    assert all(name.startswith(OPTIONAL_PARTS) for name in (*fresh, *report.unexpected_keys)), report
