"""The demo's third act: compare a run from a pretrained encoder with a run from random weights.

    python -m launch.demo.continuing CONTINUED FRESH [--rows N]

Both runs trained on the same rows. Prints how well each predicts masked words and next sentences of held-out
documents, what each predicts for some masks, next to the true words, and what that means.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
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
AT_LEAST_NSP_ACCURACY = 0.65
CHANCE = 0.5  # both labels are equally frequent
LINE = 100  # characters
TOP = 3  # word pieces to print for each mask


@dataclass(frozen=True)
class MaskedRow:
    """A held-out row, the positions of its [MASK] tokens, and the original tokens there."""

    row: TokenRow
    places: list[int]
    true_ids: list[int]


def show_comparison(continued: Path, fresh: Path, rows: int) -> None:
    """Print both comparisons. Raise `UserError` if the continued run is not better by what the demo promises."""
    records = {run.name: last_evaluation(run) for run in (continued, fresh)}
    dataset = dataset_of(continued, recipe_of(continued))
    documents = dataset.manifest.statistics.held_out_documents
    print_line(f"After training on the same rows, on {records[fresh.name]['valid_rows']:,} held-out pairs")
    print_line(f"from {documents} documents that neither run has trained on:\n")
    for line in comparison_table(records):
        print_line(line)
    check_promises(records[continued.name], records[fresh.name], continued)

    fillers = {run.name: Filler(load_pretrained(run)) for run in (continued, fresh)}
    print_line("\nPredictions for masked words of held-out sentences (the first column is the true word):")
    for masked in masked_rows(dataset, rows):
        for line in describe_masks(fillers, masked):
            print_line(line)
    print_line("")
    for line in what_it_means(records[continued.name], records[fresh.name]):
        print_line(line)


def comparison_table(records: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each run, below one for guesses: by token frequency, and by a coin."""
    unigram = next(iter(records.values()))["valid_unigram_loss"]
    yield f"    {'':<14}{'masked words':^26}{'next sentence':>15}"
    yield f"    {'':<14}{'loss (nats)':>13}{'accuracy':>13}{'accuracy':>15}"
    yield f"    {'guessing':<14}{unigram:>13.2f}{'':>13}{CHANCE:>15.1%}"
    for name, record in records.items():
        words, sentences = record["valid_mlm_accuracy"], record["valid_nsp_accuracy"]
        yield f"    {name:<14}{record['valid_mlm_loss']:>13.2f}{words:>13.1%}{sentences:>15.1%}"


def check_promises(continued: dict[str, Any], fresh: dict[str, Any], place: Path) -> None:
    """Raise `UserError` if the continued run is less ahead in masked words, or worse in sentences, than it should."""
    fix = "see the logs of both runs"
    if fresh["valid_mlm_loss"] - continued["valid_mlm_loss"] < AT_LEAST_NATS:
        cause = f"the loss is less than {AT_LEAST_NATS} nats lower than from random weights"
        raise UserError(cause, place=str(place), fix=fix)
    if continued["valid_nsp_accuracy"] < AT_LEAST_NSP_ACCURACY:
        cause = f"the next-sentence accuracy is below {AT_LEAST_NSP_ACCURACY:.0%}"
        raise UserError(cause, place=str(place), fix=fix)


def what_it_means(continued: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    """Return the lines of the demo's conclusion from the last evaluations of both runs."""
    right, chance = continued["valid_nsp_accuracy"], fresh["valid_nsp_accuracy"]
    gain = fresh["valid_unigram_loss"] - fresh["valid_mlm_loss"]
    text = (
        "What this means: both runs began with a head of random weights for next sentences. On the published encoder, "
        f"that head is now right for {right:.0%} of the held-out pairs, because the vectors already state what "
        f"a text is about. On an encoder of random weights, the same steps on the same rows leave it at {chance:.0%}, "
        f"where guessing gives {CHANCE:.0%}, and masked words gain {gain:.2f} nats over the frequencies of words. So "
        "minutes are enough to adapt a pretrained encoder to your own text. To pretrain one yourself, take a GPU and "
        "one of the recipes one_gpu_small and one_gpu_day."
    )
    return textwrap.wrap(text, LINE)


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
