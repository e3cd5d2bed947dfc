"""The demo's third act: compare a run from a pretrained encoder with a run from random weights.

    python -m launch.demo.continuing CONTINUED FRESH [--rows N]

Both runs trained on the same rows. Prints their held-out losses, and what each predicts for the masks of held-out
sentences, next to the true words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from launch.demo.story import print_line
from preprocessing.vocabulary import MASK
from pretrain.data import Dataset
from pretrain.huggingface import dataset_of, load_pretrained, recipe_of
from pretrain.telemetry import read_metrics
from pretrain.transfer import Filler, Filling, TokenRow

AT_LEAST_NATS = 1.0
TOP = 3  # word pieces to print for each mask


@dataclass(frozen=True)
class MaskedRow:
    """A held-out row, the positions of its [MASK] tokens, and the original tokens there."""

    row: TokenRow
    places: list[int]
    true_ids: list[int]


def show_comparison(continued: Path, fresh: Path, rows: int) -> None:
    """Print both comparisons. Raise `UserError` if the continued run is less than `AT_LEAST_NATS` better."""
    records = {run: last_evaluation(run) for run in (continued, fresh)}
    print_line("Held-out masked-LM loss in nats, after training on the same rows:")
    print_line(f"    {'unigram':<12} {records[fresh]['valid_unigram_loss']:.2f}")
    for run, record in records.items():
        right_pct = 100 * record["valid_mlm_accuracy"]
        print_line(f"    {run.name:<12} {record['valid_mlm_loss']:.2f}, accuracy {right_pct:.1f} %")
    ahead = records[fresh]["valid_mlm_loss"] - records[continued]["valid_mlm_loss"]
    print_line(f"Starting from the pretrained encoder lowers the loss by {ahead:.2f} nats.")
    if ahead < AT_LEAST_NATS:
        cause = f"the loss is less than {AT_LEAST_NATS} nats lower than from random weights"
        raise UserError(cause, place=str(continued), fix="see the logs of both runs")

    fillers = {run.name: Filler(load_pretrained(run)) for run in (continued, fresh)}
    print_line("Predictions for masked words of held-out sentences (the first column is the true word):")
    for masked in masked_rows(dataset_of(continued, recipe_of(continued)), rows):
        for line in describe_masks(fillers, masked):
            print_line(line)


def last_evaluation(run: Path) -> dict[str, Any]:
    """Return the record of the run's last evaluation."""
    evaluated = [record for record in read_metrics(run) if record.get("valid_mlm_loss") is not None]
    if not evaluated:
        raise UserError("the run has no evaluation", place=str(run), fix="train it to the end")
    return evaluated[-1]


def masked_rows(dataset: Dataset, count: int) -> Iterator[MaskedRow]:
    """Yield up to `count` rows that contain a [MASK], spaced evenly over the first held-out shard."""
    shard = next(entry for entry in dataset.manifest.select("held_out", 0) if entry.rows)
    rows = dataset.open_shard(shard, checked=False)
    mask_id = dataset.manifest.vocabulary.mask_id
    for number in np.linspace(0, len(rows), count, endpoint=False, dtype=int):
        ids = rows.input_ids[slice(*rows.input_offsets[number : number + 2])]
        masked = slice(*rows.masked_offsets[number : number + 2])
        positions, true_ids = rows.masked_lm_positions[masked], rows.masked_lm_ids[masked]
        hidden = ids[positions] == mask_id  # the other positions were kept or replaced
        if hidden.any():
            row = TokenRow(ids.tolist(), [0] * len(ids))
            yield MaskedRow(row, positions[hidden].tolist(), true_ids[hidden].tolist())


def describe_masks(fillers: dict[str, Filler], masked: MaskedRow) -> Iterator[str]:
    """Yield the sentence, then for each mask the true word piece and the predictions of each model."""
    vocabulary = next(iter(fillers.values())).vocabulary
    text = vocabulary.tokenizer().decode(list(masked.row.input_ids[1:-1]), skip_special_tokens=False)
    yield f"\n    {text.replace(MASK, '____')}"
    fillings = {name: filler.fill_row(masked.row, masked.places, TOP) for name, filler in fillers.items()}
    for number, true_id in enumerate(masked.true_ids):
        guesses = "   ".join(f"{name}: {describe_filling(of_model[number])}" for name, of_model in fillings.items())
        yield f"        {vocabulary.pieces[true_id]:<14} {guesses}"


def describe_filling(filling: Filling) -> str:
    """Format word pieces with their probabilities."""
    pairs = zip(filling.pieces, filling.probabilities, strict=True)
    return ", ".join(f"{piece} {probability:.2f}" for piece, probability in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments and compare the runs."""
    parser = argparse.ArgumentParser(prog="python -m launch.demo.continuing", description=__doc__)
    parser.add_argument("continued", type=Path)
    parser.add_argument("fresh", type=Path)
    parser.add_argument("--rows", type=int, default=4, help="held-out rows whose masks to fill")
    given = parser.parse_args(arguments)
    try:
        show_comparison(given.continued, given.fresh, given.rows)
    except UserError as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
