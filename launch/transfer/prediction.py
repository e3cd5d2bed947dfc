"""`bertrain predict`: label a file with a fine-tuned model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from configs.errors import UserError
from configs.files import atomic_write_text, explain_write_errors
from pretrain.transfer import (
    about_unknown,
    count_unknown,
    decode,
    device_of,
    prediction_lines,
    read_model,
    read_records,
)

MODEL = "model"  # in the folder of a fine-tuning
MOST_CLASSES = 20  # counts that are printed


def run_predict(place: Path, data: Path, output: Path | None, overrides: Sequence[str] = ()) -> None:
    """Write the file's records with their predictions to `output`, or to standard output; print counts."""
    if output is not None and output.exists():
        raise UserError("the file exists already", place=str(output), fix="choose another --output, or remove it")
    folder = place / MODEL if (place / MODEL).is_dir() else place
    recipe, task, model, vocabulary = read_model(folder, overrides)
    settings = recipe.finetune
    device = device_of(settings.device)
    records = read_records(data, recipe.task, labelled=False)
    items = task.items(records, training=False)
    made = task.predictions(records, items, decode(model.to(device), task, items, settings))
    text = "".join(prediction_lines(records, made.values, made.details))
    if output is None:
        sys.stdout.write(text)
    else:
        with explain_write_errors(output.parent):
            atomic_write_text(output, text)
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    for cause, count in records.dropped.items():
        screen.print(f"{count:,} records dropped: {cause}", markup=False)
    for cause, count in records.treated.items():
        screen.print(f"{count:,} {cause}", markup=False)
    if warning := about_unknown(*count_unknown((row for item in items for row in item.rows), vocabulary)):
        screen.print(f"warning: {warning}", markup=False)
    has_classes = "labels" in task.state() and recipe.task.kind != "tag"
    classes = Counter(map(str, made.values)).most_common(MOST_CLASSES) if has_classes else []
    counts = "".join(f"; {name}: {count:,}" for name, count in classes)
    screen.print(f"{output or 'standard output'}: {len(records):,} records{counts}", markup=False)
