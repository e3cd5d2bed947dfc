"""A pretrained model to go on from: of a run, of one of its checkpoints, or of a Hugging Face folder.

Export, filling, transfer and the start of another pretraining all take it from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.run_layout import CHECKPOINTS, RECIPE
from configs.schema import ModelConfig, Objective, Recipe
from preprocessing.vocabulary import CONTINUATION, Vocabulary
from pretrain.checkpoint import find_checkpoint, load_weights, read_state
from pretrain.data import Dataset, open_dataset
from pretrain.engine import seed_everything
from pretrain.huggingface.conversion import OPTIONAL_PARTS
from pretrain.huggingface.folder import CONFIG, read_hugging_face
from pretrain.model import BertForPreTraining, BertModel

# What of the configuration is of training alone and may differ from one pretraining to the next.
FREE_FIELDS = {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "decoder_bias_init"}


@dataclass(frozen=True)
class Pretrained:
    """Weights by our names, fp32, and what they are for. Heads that the source lacks are not among the weights."""

    place: Path
    config: ModelConfig
    vocabulary: Vocabulary
    weights: dict[str, Tensor]
    step: int | None = None  # of a run: after how many steps

    @property
    def missing_parts(self) -> list[str]:
        """Which of pooler, masked-LM head and next-sentence head the source lacks."""
        return [part for part in OPTIONAL_PARTS if not any(name.startswith(part) for name in self.weights)]

    @property
    def objective(self) -> Objective:
        """`none` for a model without a next-sentence head, as masked words alone leave it."""
        return "none" if "next_sentence" in self.missing_parts else "nsp"

    def model(self, objective: Objective, seed: int = 0) -> BertForPreTraining:
        """The whole model for an objective; what the source lacks of it is drawn at random from `seed`."""
        seed_everything(seed)
        model = BertForPreTraining(self.config, len(self.vocabulary), objective)
        _load(model, self.weights)
        return model

    def encoder(self, seed: int = 0) -> BertModel:
        """The encoder with its pooler; a pooler that the source lacks is drawn at random from `seed`."""
        return self.model("nsp", seed).bert

    def with_dropout(self, probability: float | None) -> Pretrained:
        """The same with this dropout everywhere; with None as it is."""
        if probability is None:
            return self
        dropout = {"hidden_dropout_prob": probability, "attention_probs_dropout_prob": probability}
        return replace(self, config=self.config.model_copy(update=dropout))

    def initialise(self, model: BertForPreTraining, config: ModelConfig, vocabulary: Vocabulary) -> None:
        """Give `model`, of `config` and `vocabulary`, these weights; heads that are missing stay as they are.

        `vocabulary` begins with this one's word pieces; the vector of each that it adds starts as the mean of those
        that the word was cut into before. `UserError` when shape or vocabulary do not fit.
        """
        self._check_shape(config)
        self._check_vocabulary(vocabulary)
        _load(model, {name: self._with_new_pieces(name, weight, vocabulary) for name, weight in self.weights.items()})

    def _check_shape(self, config: ModelConfig) -> None:
        for name in ModelConfig.model_fields.keys() - FREE_FIELDS:
            mine, wanted = getattr(self.config, name), getattr(config, name)
            if mine != wanted:
                cause = f"model.{name} is {wanted}, but the weights to start from have {mine}"
                raise UserError(cause, place=str(self.place), fix=f"set model.{name}={mine}")

    def _check_vocabulary(self, vocabulary: Vocabulary) -> None:
        pieces, fix = self.vocabulary.pieces, "prepare the data set with this model's vocabulary: data.vocabulary.file"
        if vocabulary.lowercase != self.vocabulary.lowercase:
            cause = "of the data set and of the weights to start from, one is lower-cased and one is cased"
            raise UserError(cause, place=str(self.place), fix=fix)
        if vocabulary.strip_accents != self.vocabulary.strip_accents:
            cause = "of the data set and of the weights to start from, one has accents stripped and one has not"
            raise UserError(cause, place=str(self.place), fix=fix)
        if vocabulary.pieces[: len(pieces)] != pieces:
            cause = "the data set's vocabulary does not begin with that of the weights to start from"
            raise UserError(cause, place=str(self.place), fix=fix)

    def _with_new_pieces(self, name: str, weight: Tensor, vocabulary: Vocabulary) -> Tensor:
        added = vocabulary.pieces[len(self.vocabulary) :]
        if not added or name not in ("bert.embeddings.word.weight", "masked_lm.decoder.bias"):
            return weight
        tokenizer = self.vocabulary.tokenizer()
        parts = [tokenizer.encode(piece.removeprefix(CONTINUATION), add_special_tokens=False).ids for piece in added]
        return torch.cat([weight, torch.stack([weight[ids].mean(0) for ids in parts])])


def load_pretrained(place: Path) -> Pretrained:
    """Read a run (its newest valid checkpoint), a checkpoint's folder, or a Hugging Face folder.

    Raises `UserError` when it is none of these, or a run whose data set, and with it the vocabulary, is gone.
    """
    if (place / CONFIG).is_file():
        return Pretrained(place, *read_hugging_face(place))
    run = run_of(place)
    recipe = recipe_of(run)
    dataset = dataset_of(run, recipe)
    vocabulary = Vocabulary.of_data_set(dataset.vocabulary_path(), dataset.manifest.vocabulary)
    folder = find_checkpoint(place)
    if folder is None:
        raise UserError("no checkpoint yet", place=str(run), fix="train it first: `bertrain train RECIPE`")
    weights = load_weights(folder)
    return Pretrained(place, recipe.model, vocabulary, weights, read_state(folder).step)


def run_of(place: Path) -> Path:
    """The run's folder, where `place` is that or one of its checkpoints."""
    return place.absolute().parent.parent if place.absolute().parent.name == CHECKPOINTS else place


def recipe_of(run: Path) -> Recipe:
    """The recipe in a run's folder; `UserError` when it is not one."""
    if not (run / RECIPE).is_file():
        fix = "give the folder of a run, one of its checkpoints, or a folder with Hugging Face's config.json"
        raise UserError("no pretrained model", place=str(run), fix=fix)
    return load_recipe(run / RECIPE)


def dataset_of(run: Path, recipe: Recipe) -> Dataset:
    """The run's data set, in a folder or at a URL; `UserError` says when it is gone."""
    try:
        return open_dataset(recipe.data.dataset, recipe.train)
    except UserError as error:
        cause = f"its data set, which holds the vocabulary, is gone: {recipe.data.dataset}: {error.cause}"
        fix = f"put it back, or make it again: `bertrain prepare {run}`"
        raise UserError(cause, place=str(run), fix=fix) from error


def _load(model: BertForPreTraining, weights: dict[str, Tensor]) -> None:
    """A head that the model has not, for another objective, is left out; one that the weights have not stays."""
    report = model.load_state_dict(weights, strict=False)
    fresh = [name for name in report.missing_keys if name != "masked_lm.decoder.weight"]
    assert all(name.startswith(OPTIONAL_PARTS) for name in (*fresh, *report.unexpected_keys)), report
