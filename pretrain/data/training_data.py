"""Open the data sets of a recipe and check that it can train on them. Imports no torch: the launcher uses it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from configs.errors import UserError
from configs.schema import DataConfig, Recipe, VocabularyConfig, differing_settings, digest_of, recipe_of_data
from preprocessing.dataset import TOKENIZER
from preprocessing.vocabulary import read_vocabulary
from pretrain.data.dataset import Dataset, open_dataset
from pretrain.data.mixture import slots_of
from pretrain.engine import steps_of_rows


@dataclass(frozen=True)
class TrainingData:
    """A recipe's data sets: `main` provides the held-out rows and the vocabulary; `mixed` are trained on by weight."""

    main: Dataset
    mixed: list[Dataset]
    weights: list[float]

    @property
    def digest(self) -> str:
        """Identifies the training rows and, together with the recipe's seed, their order."""
        if len(self.mixed) == 1:
            return self.mixed[0].manifest.digest
        parts = zip((dataset.manifest.digest for dataset in self.mixed), slots_of(self.weights), strict=True)
        return digest_of({"mixture": [list(part) for part in parts]})

    @property
    def rows_per_epoch(self) -> float:
        """Training rows of a mean pass over all data sets."""
        passes = (
            (sum(entry.rows for entry in one.manifest.shards if entry.split == "train"), one) for one in self.mixed
        )
        return sum(rows / one.manifest.dupe_factor for rows, one in passes)

    def settled(self, recipe: Recipe) -> Recipe:
        """Return the recipe with what the data sets determine, so that a run records nothing false.

        That is `[data]` as it made the rows, the `train.global_batch_size` of `train.global_batch_tokens`, and the
        `train.steps` of `train.epochs` or `train.tokens`. Raises `UserError` if the schedule does not fit these steps.
        """
        recipe = recipe.with_batch_of(self.mean_length)
        train, made = recipe.train, self.main.manifest.recipe
        table = recipe.model_dump()
        if made:
            table["data"] = recipe_of_data(made, recipe.data).model_dump()
        if rows := train.epochs * self.rows_per_epoch or train.tokens / self.mean_length:
            table["train"]["steps"] = steps_of_rows(rows, train)
        try:
            return Recipe.model_validate(table)
        except ValidationError as error:
            key = "train.epochs" if train.epochs else "train.tokens"
            fix = "set optimizer.warmup_share instead of warmup_steps, or train longer"
            raise UserError(error.errors()[0]["msg"].removeprefix("Value error, "), place=key, fix=fix) from None

    @property
    def mean_length(self) -> float:
        """Mean number of tokens per training row, weighted over the data sets."""
        of_each = [dataset.manifest.select("train", 0) for dataset in self.mixed]
        lengths = [sum(shard.tokens for shard in shards) / sum(shard.rows for shard in shards) for shards in of_each]
        weighted = sum(weight * length for weight, length in zip(self.weights, lengths, strict=True))
        return weighted / sum(self.weights)


def open_data(recipe: Recipe) -> TrainingData:
    """Open a recipe's data sets. Raises `UserError` if one is incomplete or does not fit the recipe."""
    main = open_dataset(recipe.data.dataset, recipe.train)
    check_fits(main, recipe.data)
    _check_settings(main, recipe.data)
    mixture = recipe.train.mixture
    if not mixture:
        return TrainingData(main, [main], [1.0])
    mixed = [open_dataset(entry.dataset, recipe.train) for entry in mixture]
    for dataset in mixed:
        check_fits(dataset, recipe.data)
        if dataset.manifest.vocabulary != main.manifest.vocabulary:
            cause = f"its vocabulary differs from that of {main.place}"
            fix = "prepare all data sets of a mixture with one data.vocabulary.file"
            raise UserError(cause, place=dataset.place, fix=fix)
    return TrainingData(main, mixed, [entry.weight for entry in mixture])


def check_fits(dataset: Dataset, data: DataConfig) -> None:
    """Raise `UserError` if a recipe with this `[data]` cannot train on the data set."""
    manifest = dataset.manifest
    again = "prepare it again: `bertrain prepare RECIPE --overwrite`"
    prepare = f"{again}, or name another folder in data.dataset"

    def refuse(cause: str, fix: str = prepare) -> None:
        raise UserError(cause, place=dataset.place, fix=fix)

    if manifest.objective != data.objective:
        cause = f"the data set has the objective `{manifest.objective}`, but the recipe has `{data.objective}`"
        refuse(cause, f"set data.objective={manifest.objective}, or {again}")
    if manifest.max_seq_length > data.max_seq_length:
        refuse(
            f"the data set has rows of up to {manifest.max_seq_length} tokens, but the recipe allows "
            f"{data.max_seq_length}",
            f"set data.max_seq_length={manifest.max_seq_length}, or {again}",
        )
    _check_vocabulary(dataset, data.vocabulary, refuse)
    if len(manifest.statistics.token_counts) != manifest.vocabulary.size:
        refuse("the manifest does not count every entry of the vocabulary")
    for number in range(manifest.dupe_factor):
        if not sum(entry.rows for entry in manifest.select("train", number)):
            refuse(f"pass {number} of {manifest.dupe_factor} has no training rows", "prepare it from more text")


def _check_settings(dataset: Dataset, data: DataConfig) -> None:
    """Raise `UserError` if the recipe states other settings than those that made the data set."""
    differing = [one for one in differing_settings(dataset.manifest.recipe, data) if one.is_stated]
    if differing:
        values = " ".join(f"{one.key}={one.of_data_set}" for one in differing)
        cause = f"made with other settings than the recipe's: {', '.join(map(str, differing))}"
        fix = f"prepare it again with this recipe and --overwrite, or set {values}"
        raise UserError(cause, place=dataset.place, fix=fix)


def _check_vocabulary(dataset: Dataset, ours: VocabularyConfig, refuse: Callable[[str], None]) -> None:
    theirs = dataset.manifest.vocabulary
    is_own = theirs.file == TOKENIZER  # a casing of its own
    if not is_own and theirs.lowercase != ours.lowercase:
        cased = {True: "lower-cased", False: "cased"}
        refuse(f"the data set's vocabulary is {cased[theirs.lowercase]}, but the recipe's is {cased[ours.lowercase]}")
    stripped = theirs.lowercase if theirs.strip_accents is None else theirs.strip_accents
    if not is_own and ours.strip_accents not in (None, stripped):
        refuse(f"the data set was prepared with strip_accents {stripped}, but the recipe has {ours.strip_accents}")
    if ours.file and Path(ours.file).is_file():  # the file need not exist where training runs
        if read_vocabulary(Path(ours.file), ours).entry().sha256 != theirs.sha256:
            refuse(f"the data set's vocabulary differs from {ours.file}")
    elif ours.file is None and theirs.size > ours.size:
        refuse(f"the data set's vocabulary has {theirs.size} entries, but the recipe allows at most {ours.size}")
    if not dataset.has_its_vocabulary():
        cause = f"{theirs.file} is missing, or is not the vocabulary that the rows were made with"
        fix = "run `bertrain prepare RECIPE` again: it makes only what is missing or damaged"
        raise UserError(cause, place=dataset.place, fix=fix)
