"""`bertrain export` writes a run's model for Hugging Face; `bertrain import` creates a run from such a model."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import torch
from pydantic import ValidationError

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, atomic_folder, read_bounded
from configs.recipe import load_recipe, write_recipe
from configs.run_layout import RECIPE
from configs.schema import Recipe
from launch.terminal import console
from launch.transfer.sharing import write_onnx, write_sentence_encoder
from preprocessing.vocabulary import Vocabulary
from pretrain.checkpoint import TRAINING_FIELDS, find_checkpoint, read_state
from pretrain.data import KeptRow
from pretrain.huggingface import (
    Casing,
    Pretrained,
    data_of,
    largest_difference,
    load_pretrained,
    recipe_of,
    run_of,
    write_hugging_face_folder,
    write_model_card,
)
from pretrain.model import Batch
from pretrain.transfer import TokenRow, batch_of

TOLERANCE = 1e-5
SHORTEST_ROW = 16  # tokens, the least data.max_seq_length
ONLY_FOR_TRAINED = [f"data.vocabulary.{name}" for name in ("size", "min_frequency", "unused_slots", "sample_bytes")]
DETERMINED = ("model.", "data.vocabulary.", "train.initialise_from.")  # what an import takes from the model
INITIAL = "initial"  # folder in an imported run: the model that it starts from


@dataclass(frozen=True)
class Export:
    """A run's model, written for Hugging Face transformers and read back.

    `rows` is the number of compared rows. `largest_difference` is that of transformers' outputs in double precision;
    None if transformers is not installed. `onnx_difference` is that of ONNX Runtime's hidden states in single
    precision; None if no ONNX file was requested.
    """

    checkpoint: Path
    folder: Path
    rows: int
    largest_difference: float | None
    onnx_difference: float | None = None


def export_run(place: Path, output: Path, *, sentence_transformers: bool = False, onnx: bool = False) -> Export:
    """Write a run's model as a Hugging Face folder, compare it with the original, and only then rename it to `output`.

    `place` is the run, or one of its checkpoints. On request, adds the files that sentence-transformers reads, and the
    encoder as onnx/model.onnx. Raises `UserError` if outputs differ by more than 1e-5, those of ONNX by 1e-4.
    """
    run = run_of(place)
    recipe = recipe_of(run)
    source = load_pretrained(place)
    data = data_of(run, recipe)
    folder = find_checkpoint(place)
    assert folder is not None  # load_pretrained has read it
    batch = batch_of_rows(data.rows)
    with atomic_folder(output) as partial:
        write_hugging_face_folder(partial, source.config, source.vocabulary, source.weights)
        write_model_card(partial, run, recipe, source.vocabulary, data.manifest, read_state(folder))
        difference = _compare(partial, source, batch)
        if sentence_transformers:
            write_sentence_encoder(partial, source.config)
        onnx_difference = write_onnx(partial, batch, has_segments=source.config.has_segments) if onnx else None
    return Export(folder, output, len(batch), difference, onnx_difference)


def run_export(place: Path, output: Path, *, sentence_transformers: bool = False, onnx: bool = False) -> None:
    """Export a run's model, and print the written files and the result of the comparison."""
    exported = export_run(place, output, sentence_transformers=sentence_transformers, onnx=onnx)
    compared = "weights read back are identical; outputs were not compared, because transformers is not installed"
    if exported.largest_difference is not None:
        compared = (
            f"weights read back are identical; transformers' outputs on {exported.rows} real rows differ by at most "
            f"{exported.largest_difference:.1e} (hidden states, masked-LM and next-sentence scores; double precision)"
        )
    say = console().print
    say(f"{exported.checkpoint} → {output}: {', '.join(sorted(path.name for path in output.iterdir()))}", markup=False)
    say(compared, markup=False)
    if exported.onnx_difference is not None:
        say(f"ONNX Runtime's hidden states differ by at most {exported.onnx_difference:.1e}", markup=False)


def _compare(folder: Path, source: Pretrained, batch: Batch) -> float | None:
    """Read the written folder back, with our reader and with transformers. Raise `UserError` if they differ.

    Returns the largest difference of transformers' outputs, or None if it is not installed.
    """
    _check_read_back(load_pretrained(folder), source)
    if importlib.util.find_spec("transformers") is None:
        return None
    difference = largest_difference(folder, source.model(source.objective), batch)
    if not difference <= TOLERANCE:
        raise _unfaithful(f"transformers' outputs differ by {difference:.2e}, more than {TOLERANCE:.0e}", source)
    return difference


def _check_read_back(read: Pretrained, source: Pretrained) -> None:
    equal = all(torch.equal(weight, source.weights[name]) for name, weight in read.weights.items())
    if not equal or read.vocabulary != source.vocabulary or read.missing_parts != source.missing_parts:
        raise _unfaithful("the weights, vocabulary or heads read back differ from those written", source)


def _unfaithful(cause: str, source: Pretrained) -> UserError:
    fix = "nothing was written; please report this with the run's recipe.toml"
    return UserError(cause, place=str(source.place), fix=fix)


def batch_of_rows(rows: Sequence[KeptRow]) -> Batch:
    """Return the rows as one batch."""
    made, masked_positions, first = [], [], 0
    for row in rows:
        masked_positions += [first + position for position in row.masked_lm_positions]
        in_b = [int(place >= row.segment_a_length) for place in range(len(row.input_ids))]
        made.append(TokenRow(row.input_ids, in_b))
        first += len(row.input_ids)
    return batch_of(made, masked_positions)


def import_model(source: Path, recipe: str, overrides: Sequence[str], pieces: Path | None) -> None:
    """Create a run folder that holds a copy of a Hugging Face model and a recipe that starts training from it.

    The model gives the recipe's shape, vocabulary and casing. `pieces` is a file of word pieces to add, one per line.
    Trains nothing. Raises `UserError` if the run exists, or the model cannot be continued.
    """
    requested = load_recipe(recipe, overrides)
    casing = requested.data.vocabulary
    model = load_pretrained(source, Casing(casing.lowercase, casing.strip_accents))
    run = Path(requested.runs) / requested.name
    fitted = _fitted(requested, model, run.absolute())
    _refuse_ignored(overrides, requested, fitted)
    added = new_pieces(pieces, model.vocabulary) if pieces else []
    vocabulary = replace(model.vocabulary, pieces=(*model.vocabulary.pieces, *added))
    with atomic_folder(run) as partial:
        initial = partial / INITIAL
        initial.mkdir()
        origin = source.absolute().name
        write_hugging_face_folder(initial, model.config, model.vocabulary, model.weights, _name_or_path=origin)
        vocabulary.write(partial / vocabulary.file)
        write_recipe(fitted, partial / RECIPE)
    _print_summary(run, model, len(added))


def new_pieces(path: Path, vocabulary: Vocabulary) -> list[str]:
    """Return the file's word pieces that the vocabulary lacks, normalised as the tokenizer does, without duplicates.

    Raises `UserError`, with the line, for a piece that the tokenizer can never produce.
    """
    if vocabulary.source:
        fix = "import it without added pieces; or add them to its tokenizer.json before its training"
        raise UserError("word pieces can be added to BERT's vocabulary only", place=str(path), fix=fix)
    tokenizer = vocabulary.tokenizer()
    try:
        lines = read_bounded(path, MOST_MODEL_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        fix = "give a UTF-8 text file"
        raise UserError(f"cannot read the word pieces: {cause}", place=str(path), fix=fix) from error
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        word = line.strip()
        prefix = "##" if word.startswith("##") else ""
        piece = prefix + tokenizer.normalizer.normalize_str(word.removeprefix(prefix))
        parts = tokenizer.pre_tokenizer.pre_tokenize_str(piece.removeprefix(prefix))
        if word and len(parts) != 1:
            cause = f"{word!r} is not a single word: BERT splits at spaces and punctuation"
            raise UserError(cause, place=f"{path}, line {number}", fix="remove it, or list its parts")
        if word and piece not in vocabulary.ids:
            found[piece] = None
    return list(found)


def _fitted(recipe: Recipe, model: Pretrained, run: Path) -> Recipe:
    """Return the recipe with the model's vocabulary, shape and weights."""
    _check_length(recipe, model)
    casing = model.vocabulary
    stripped = None if casing.strip_accents == casing.lowercase else casing.strip_accents
    settings: dict[str, object] = {"file": str(run / casing.file), "kind": "wordpiece"}
    if casing.source:
        settings["kind"] = "tokenizer"
    else:
        settings |= {"lowercase": casing.lowercase, "strip_accents": stripped}
    vocabulary = recipe.data.vocabulary.model_copy(update=settings)
    data = recipe.data.model_copy(update={"vocabulary": vocabulary})
    shape = model.config.model_copy(update={name: getattr(recipe.model, name) for name in TRAINING_FIELDS})
    train = recipe.train.model_copy(update={"initialise_from": str(run / INITIAL)})
    fitted = {"data": data.model_dump(), "model": shape.model_dump(), "train": train.model_dump()}
    try:
        return Recipe.model_validate(recipe.model_dump() | fitted)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Value error, ")
        fix = "add the setting that it names to the command"
        raise UserError(f"the recipe does not suit the model: {rule}", place=str(model.place), fix=fix) from None


def _check_length(recipe: Recipe, model: Pretrained) -> None:
    """Raise `UserError` if the recipe's rows are longer than the model has positions."""
    most, length = model.config.max_position_embeddings, recipe.data.max_seq_length
    if length > most:
        cause = f"the model has {most} positions, but the recipe's rows have up to {length} tokens"
        masks = min(recipe.data.max_predictions_per_seq, max(1, round(0.15 * most)))
        fix = f"add data.max_seq_length={most} data.max_predictions_per_seq={masks}"
        if most < SHORTEST_ROW:
            fix = f"a run needs rows of at least {SHORTEST_ROW} tokens: take another model"
        raise UserError(cause, place=str(model.place), fix=fix)


def _refuse_ignored(overrides: Sequence[str], requested: Recipe, fitted: Recipe) -> None:
    """Raise `UserError` for a setting on the command line that the model determines otherwise."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not f"{key}.".startswith(DETERMINED):
            continue
        before, after = (reduce(getattr, key.split("."), recipe) for recipe in (requested, fitted))
        if before != after:
            cause = f"an import takes {key} from the model, which gives {after!r}"
            raise UserError(cause, place=repr(override), fix="remove this setting")
        if key in ONLY_FOR_TRAINED:
            cause = "only a vocabulary that is trained has this key, and an import takes the model's"
            raise UserError(cause, place=repr(override), fix="remove this setting")


def _print_summary(run: Path, model: Pretrained, added: int) -> None:
    say = console().print
    config = model.config
    say(
        f"{run}: {config.num_hidden_layers} layers x {config.hidden_size}, {len(model.vocabulary):,} word pieces",
        markup=False,
    )
    if added:
        say(
            f"  {added:,} word pieces added; each embedding starts as the mean of the pieces that it was split into",
            markup=False,
        )
    say(f"  next: bertrain prepare {run}; bertrain train {run}", markup=False)
