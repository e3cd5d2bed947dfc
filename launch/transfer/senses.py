"""`bertrain senses`: print and plot how well each layer separates the senses of a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.machine import require_package
from launch.terminal import console, plain_table
from pretrain.huggingface import load_pretrained
from pretrain.transfer import SHIPPED, Separation, draw_senses, read_contexts, separation, word_vectors


def run_senses(place: Path, word: str, file: Path | None, picture: Path | None) -> None:
    """Compare the vectors of `word` in the sentences of `file`, or in shipped ones, in each layer of a model."""
    require_package("sklearn")
    contexts = read_contexts(file or _shipped(word), word)
    vectors_LNH = word_vectors(load_pretrained(place), contexts)
    senses = [context.sense for context in contexts]
    separations = [separation(vectors_NH, senses) for vectors_NH in vectors_LNH]
    say, counts = console().print, Counter(senses)
    say(_table(separations))
    sense_counts = ", ".join(f"{count} {sense}" for sense, count in counts.items())
    chance_pct = 100 * max(counts.values()) / len(senses)
    say(f"{word} in {len(senses)} sentences: {sense_counts}; chance accuracy {chance_pct:.0f} %", markup=False)
    if picture:
        with explain_write_errors(picture):
            draw_senses(picture, word, vectors_LNH, senses, separations)
        say(str(picture), markup=False)


def _shipped(word: str) -> Path:
    if word not in SHIPPED:
        fix = f"give a file with --contexts, or choose --word {' or '.join(SHIPPED)}"
        raise UserError(f"the package has no sentences for {word!r}", place="--word", fix=fix)
    return SHIPPED[word]


def _table(separations: Sequence[Separation]) -> Table:
    table = plain_table("layer", "silhouette", "accuracy", justify="right")
    for layer, found in enumerate(separations):
        table.add_row(str(layer), f"{found.silhouette:+.3f}", f"{100 * found.accuracy:.0f} %")
    return table
