"""The demo's third act: how far a run from a pretrained encoder is ahead of one from random weights.

    python -m launch.demo.continuing CONTINUED FRESH [--rows N]

Both have trained on the same rows. Their held-out losses are compared, and both fill the masks of held-out sentences,
beside the true words.
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
TOP = 3  # word pieces to show for a mask


@dataclass(frozen=True)
class MaskedRow:
    """A held-out row, and what stood where it shows [MASK]."""

    row: TokenRow
    places: list[int]
    true_ids: list[int]


def show_comparison(continued: Path, fresh: Path, rows: int) -> None:
    """Print both comparisons; `UserError` when the continued run is less than `AT_LEAST_NATS` ahead."""
    records = {run: last_evaluation(run) for run in (continued, fresh)}
    print_line("Held-out masked-LM loss after the same rows, in nats:")
    print_line(f"    {'unigram':<12} {records[fresh]['valid_unigram_loss']:.2f}")
    for run, record in records.items():
        right_pct = 100 * record["valid_mlm_accuracy"]
        print_line(f"    {run.name:<12} {record['valid_mlm_loss']:.2f}, {right_pct:.1f} % of the masked words right")
    ahead = records[fresh]["valid_mlm_loss"] - records[continued]["valid_mlm_loss"]
    print_line(f"The pretrained encoder is {ahead:.2f} nats ahead.")
    if ahead < AT_LEAST_NATS:
        raise UserError(f"less than {AT_LEAST_NATS} nats", place=str(continued), fix="see the logs of both runs")

    fillers = {run.name: Filler(load_pretrained(run)) for run in (continued, fresh)}
    print_line("Masks of held-out sentences, the true word first:")
    for masked in masked_rows(dataset_of(continued, recipe_of(continued)), rows):
        for line in describe_masks(fillers, masked):
            print_line(line)


def last_evaluation(run: Path) -> dict[str, Any]:
    """The record of the run's last evaluation."""
    evaluated = [record for record in read_metrics(run) if "valid_mlm_loss" in record]
    if not evaluated:
        raise UserError("it was never evaluated", place=str(run), fix="train it to its end")
    return evaluated[-1]


def masked_rows(dataset: Dataset, count: int) -> Iterator[MaskedRow]:
    """Rows with a [MASK], evenly over the first held-out shard."""
    shard = next(entry for entry in dataset.manifest.select("held_out", 0) if entry.rows)
    rows = dataset.open_shard(shard, checked=False)
    mask_id = dataset.manifest.vocabulary.mask_id
    for number in np.linspace(0, len(rows), count, endpoint=False, dtype=int):
        ids = rows.input_ids[slice(*rows.input_offsets[number : number + 2])]
        masked = slice(*rows.masked_offsets[number : number + 2])
        positions, true_ids = rows.masked_lm_positions[masked], rows.masked_lm_ids[masked]
        hidden = ids[positions] == mask_id  # others were kept or replaced
        if hidden.any():
            row = TokenRow(ids.tolist(), [0] * len(ids))
            yield MaskedRow(row, positions[hidden].tolist(), true_ids[hidden].tolist())


def describe_masks(fillers: dict[str, Filler], masked: MaskedRow) -> Iterator[str]:
    """The sentence, then for each mask the true word piece and what each model would put there."""
    vocabulary = next(iter(fillers.values())).vocabulary
    text = vocabulary.tokenizer().decode(list(masked.row.input_ids[1:-1]), skip_special_tokens=False)
    yield f"\n    {text.replace(MASK, '____')}"
    fillings = {name: filler.fill_row(masked.row, masked.places, TOP) for name, filler in fillers.items()}
    for number, true_id in enumerate(masked.true_ids):
        guesses = "   ".join(f"{name}: {describe_filling(of_model[number])}" for name, of_model in fillings.items())
        yield f"        {vocabulary.pieces[true_id]:<14} {guesses}"


def describe_filling(filling: Filling) -> str:
    """Word pieces with their probabilities."""
    pairs = zip(filling.pieces, filling.probabilities, strict=True)
    return ", ".join(f"{piece} {probability:.2f}" for piece, probability in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments and show both runs."""
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
