"""README.md of a pretrained model, as the Hugging Face Hub reads it: data, training, evaluation and limits."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from configs.files import MOST_MODEL_BYTES, read_bounded
from configs.recipe import resolved_toml
from configs.records import parse_object
from configs.schema import ClusterConfig, Recipe, recipe_of_data
from preprocessing.dataset import Manifest
from preprocessing.vocabulary import CLS, MASK, Vocabulary
from pretrain.checkpoint import TrainingState
from pretrain.model import bert_parameters
from pretrain.telemetry import LOSS, draw_curves, goodput_text, read_metrics

CARD, CURVES = "README.md", "curves.png"
TABLE_ROWS = 20
METRICS = {  # of a record, and the Hub's name
    "valid_mlm_loss": "{words} loss (nats)",
    "valid_mlm_accuracy": "{words} accuracy",
    "valid_nsp_accuracy": "next-sentence accuracy",
}
ORIGIN = "_name_or_path"  # Hugging Face's field for a model's origin; an import writes it

HEADER = """\
---
{front}
---
# {name}

A {kind} encoder, pretrained by bertrain on the text described below.

```python
from transformers import pipeline
{usage}
```
"""
USAGE = {
    "fill-mask": 'pipeline("fill-mask", model="FOLDER")("The capital of France is {mask}.")',
    "text-generation": 'pipeline("text-generation", model="FOLDER")'
    '("{first} The capital of", add_special_tokens=False)',
}

LIMITS = """\
## Limits

- The model was trained only on the text above, in `{language}`, and reflects that text's topics, period and biases.
- Rows had at most {length} tokens, so {untrained}.
- {ability} is likely, but may be false.
- The model has not been evaluated for any application. Fine-tune and evaluate it on your own task before you use it.
"""


def write_model_card(
    folder: Path, run: Path, recipe: Recipe, vocabulary: Vocabulary, manifest: Manifest, state: TrainingState
) -> None:
    """Write README.md into `folder`, and curves.png if matplotlib is installed.

    What it says of the data comes from the manifest, not from the run's recipe.
    """
    recipe = recipe.model_copy(update={"data": recipe_of_data(manifest.recipe, recipe.data)})
    records = [record for record in read_metrics(run) if record["step"] <= state.step]
    usage = USAGE[_pipeline(recipe)].format(mask=vocabulary.name_of(MASK), first=vocabulary.name_of(CLS))
    parts = [
        HEADER.format(front=front_matter(recipe, records), name=recipe.name, kind=_kind(recipe), usage=usage),
        _data(recipe, manifest),
        _training(recipe, manifest, state, records),
        _evaluation(records, _words(recipe)),
        _curves(folder, recipe.name, records),
        _limits(recipe, manifest),
        "## Recipe\n\n```toml\n" + resolved_toml(_without_machine(recipe)) + "```\n",
    ]
    (folder / CARD).write_text("\n".join(part for part in parts if part), encoding="utf-8")


def front_matter(recipe: Recipe, records: Sequence[dict[str, Any]]) -> str:
    """Return the card's metadata as YAML, with the figures of the last evaluation."""
    dataset = Path(recipe.data.dataset).name
    figures = {tag: _last_evaluation(records).get(name) for name, tag in METRICS.items()}
    results = [
        EvalResult(
            task_type=_pipeline(recipe),
            dataset_type=dataset,
            dataset_name=f"{dataset}, held-out documents",
            metric_type=tag.format(words=_words(recipe)),
            metric_value=value,
        )
        for tag, value in figures.items()
        if value is not None
    ]
    data = ModelCardData(
        model_name=recipe.name,
        language=_languages(recipe),
        license=recipe.license,
        library_name="transformers",
        pipeline_tag=_pipeline(recipe),
        datasets=[dataset],
        metrics=[result.metric_type for result in results] or None,
        tags=[_kind(recipe).lower(), "pretraining", "bertrain"],
        eval_results=results or None,
    )
    return data.to_yaml()


def _pipeline(recipe: Recipe) -> str:
    """Return the Hub's name of what the pretraining head does."""
    return "text-generation" if recipe.model.is_left_to_right else "fill-mask"


def _words(recipe: Recipe) -> str:
    """Return what the pretraining head predicts."""
    return "next-token" if recipe.model.is_left_to_right else "masked-LM"


def _languages(recipe: Recipe) -> list[str]:
    corpora = range(len(recipe.data.corpora))
    return sorted({recipe.data.language_of(corpus) for corpus in corpora} or {recipe.data.language})


def _data(recipe: Recipe, manifest: Manifest) -> str:
    statistics = manifest.statistics
    names = ", ".join(
        f"`{Path(path).name}` ({corpus.format})" for corpus in recipe.data.corpora for path in corpus.paths
    )
    passes = [shard for shard in manifest.shards if shard.split == "train"]
    return _list(
        "Data",
        {
            "corpora": names or "not stated in the recipe",
            "text": f"{statistics.text_bytes / 1e6:,.1f} MB in {statistics.documents:,} documents, "
            f"{statistics.held_out_documents:,} of them held out",
            "vocabulary": f"{manifest.vocabulary.size:,} word pieces, {manifest.vocabulary.casing}",
            "rows": f"{sum(shard.rows for shard in passes):,} in {manifest.dupe_factor} passes, "
            f"at most {manifest.max_seq_length} tokens, objective `{manifest.objective}`",
            "data set": f"`{manifest.digest}`",
        },
    )


def _training(recipe: Recipe, manifest: Manifest, state: TrainingState, records: Sequence[dict[str, Any]]) -> str:
    model, train = recipe.model, recipe.train
    parameters = bert_parameters(model, manifest.vocabulary.size, model.objective_of(manifest.objective))
    changed = {"changed": "; ".join(f"`{change}`" for change in state.changes)} if state.changes else {}
    return _list(
        "Training",
        {
            "model": f"{model.num_hidden_layers} layers × {model.hidden_size}, {model.num_attention_heads} heads, "
            f"{parameters:,} parameters",
            "steps": f"{state.step:,}, with {train.global_batch_size:,} rows each",
            "trained on": f"{state.samples:,} rows, {state.tokens:,} tokens",
            "time": f"{state.time_s / 3600:,.2f} h on {state.world_size} rank(s), {train.precision}",
            "goodput": (goodput_text(records[-1]) if records else "") or "not recorded",
            "initialised from": f"`{_origin(Path(train.initialise_from))}`"
            if train.initialise_from
            else "random weights",
            **changed,
        },
    )


def _origin(place: Path) -> str:
    """Return the origin recorded by an import into `place`, or the folder's name if there is none or it was deleted."""
    try:
        return str(parse_object(read_bounded(place / "config.json", MOST_MODEL_BYTES))[ORIGIN])
    except (OSError, ValueError, KeyError):
        return place.name


def _evaluation(records: Sequence[dict[str, Any]], words: str) -> str:
    last = _last_evaluation(records)
    if not last:
        return "## Evaluation\n\nNo held-out evaluation was recorded up to this checkpoint.\n"
    baseline = _number(last, "valid_unigram_loss", ".4f")
    lines = {
        f"{words} loss": f"{_number(last, 'valid_mlm_loss', '.4f')} nats; unigram baseline: {baseline}",
        f"{words} accuracy": _number(last, "valid_mlm_accuracy"),
    }
    if last.get("valid_nsp_accuracy") is not None:
        lines["next-sentence accuracy"] = f"{_number(last, 'valid_nsp_accuracy')}; chance: 0.5"
    predicted = "masked" if words == "masked-LM" else "predicted"
    rows, masked_tokens = (_number(last, f"valid_{name}", ",") for name in ("rows", "masked_tokens"))
    lines["evaluated on"] = f"{rows} rows, {masked_tokens} {predicted} tokens"
    return _list(f"Evaluation on held-out documents, after step {last['step']:,}", lines)


def _last_evaluation(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of the last step with an evaluation, or an empty one."""
    evaluated = (record for record in reversed(records) if record.get("valid_mlm_loss") is not None)
    return next(evaluated, {})


def _curves(folder: Path, name: str, records: Sequence[dict[str, Any]]) -> str:
    if not records:
        return ""
    chosen = records[:: -(-len(records) // TABLE_ROWS)]
    lines = [
        f"| {r['step']:,} | {_number(r, 'mlm_loss', '.4f')} | {_number(r, 'mlm_accuracy')} "
        f"| {_number(r, 'nsp_accuracy')} |"
        for r in chosen
    ]
    table = "| step | masked-LM loss | masked-LM accuracy | next-sentence accuracy |\n|---|---|---|---|\n" + "\n".join(
        lines
    )
    if importlib.util.find_spec("matplotlib") is None:
        return f"## Curves\n\n{table}\n"
    draw_curves(folder / CURVES, {name: records}, [LOSS])
    return f"## Curves\n\n![masked-LM loss over steps]({CURVES})\n\n{table}\n"


def _limits(recipe: Recipe, manifest: Manifest) -> str:
    length, positions = manifest.max_seq_length, recipe.model.max_position_embeddings
    untrained = f"of {positions} position vectors those beyond {length} were not trained"
    if recipe.model.is_modern:
        untrained = f"rows of {length} to {positions} tokens are accepted, but were not trained on"
    ability = (
        "The model continues a text, and represents each token by the text before it. What it writes"
        if recipe.model.is_left_to_right
        else "The model encodes text and fills in masks; it does not generate text. What it fills in"
    )
    return LIMITS.format(language=recipe.data.language, length=length, untrained=untrained, ability=ability)


def _kind(recipe: Recipe) -> str:
    return "ModernBERT" if recipe.model.is_modern else "BERT"


def _without_machine(recipe: Recipe) -> Recipe:
    """Return the recipe without folders and cluster settings, which describe the machine and not the model."""
    corpora = [
        corpus.model_copy(update={"paths": [Path(path).name for path in corpus.paths]})
        for corpus in recipe.data.corpora
    ]
    data = recipe.data.model_copy(update={"dataset": Path(recipe.data.dataset).name, "corpora": corpora})
    return recipe.model_copy(update={"runs": "runs", "data": data, "cluster": ClusterConfig()})


def _number(record: dict[str, Any], name: str, how: str = ".3f") -> str:
    value = record.get(name)
    return "–" if value is None else format(value, how)


def _list(title: str, lines: dict[str, str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {name}: {text}\n" for name, text in lines.items())
