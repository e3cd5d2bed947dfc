"""The pictures of a data card: each shows figures of the manifest. One without anything to show is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from preprocessing.dataset import Manifest
from preprocessing.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TOKENS = 30  # number of most frequent tokens to show
_INK = "#3b6ea5"
LABELS = {
    "nsp": ("B follows A", "B comes from another document"),
    "sop": ("A before B", "B before A"),
    "none": ("one segment", ""),
}


class Picture(NamedTuple):
    """What a picture shows, in words, and how to draw it."""

    caption: str
    draw: Callable[[Axes], None]


def card_pictures(manifest: Manifest, vocabulary: Vocabulary) -> dict[str, Picture]:
    """Return the pictures of a data set by name."""
    rows = {label: float(count) for label, count in rows_by_label(manifest).items()}
    duplicates = duplicates_by_kind(manifest)
    kept = {"kept": float(manifest.statistics.documents)}
    found = {
        "lengths": Picture("Rows by length", partial(_draw_lengths, manifest=manifest)),
        "labels": Picture("Rows by label", partial(_draw_bars, values=rows, what="rows")) if len(rows) > 1 else None,
        "drops": Picture("Drops by cause", partial(_draw_bars, values=drops_by_cause(manifest), what="number of them"))
        if manifest.drops
        else None,
        "duplicates": Picture(
            "Kept and duplicate documents", partial(_draw_bars, values=kept | duplicates, what="documents")
        )
        if duplicates
        else None,
        "tokens": Picture(
            "The most frequent tokens",
            partial(_draw_bars, values=frequent_tokens(manifest, vocabulary), what="% of all tokens", digits=2),
        ),
        "ranks": Picture("Tokens by rank", partial(_draw_ranks, manifest=manifest)),
    }
    return {name: picture for name, picture in found.items() if picture}


def write_picture(stream: IO[bytes], picture: Picture) -> None:
    """Draw a picture as PNG."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(picture.caption, fontsize=10)
    picture.draw(axes)
    figure.savefig(stream, format="png")


def rows_by_label(manifest: Manifest) -> dict[str, int]:
    """Return the rows of the first pass by `next_sentence_label`; of a single kind under the objective `none`."""
    labelled_1 = manifest.statistics.random_next_pairs
    counts = (sum(manifest.statistics.length_histogram) - labelled_1, labelled_1)
    return {name: count for name, count in zip(LABELS[manifest.objective], counts, strict=True) if name}


def drops_by_cause(manifest: Manifest) -> dict[str, float]:
    """Return what was dropped or repaired, the most frequent cause first."""
    return {
        cause.replace("_", " "): count for cause, count in sorted(manifest.drops.items(), key=lambda drop: -drop[1])
    }


def duplicates_by_kind(manifest: Manifest) -> dict[str, float]:
    """Return the dropped duplicates: exact ones, and near ones if they were searched for; empty if there were none."""
    found = {kind: manifest.drops.get(f"{kind}_duplicate", 0) for kind in ("exact", "near")}
    return {f"{kind} duplicates": count for kind, count in found.items() if count}


def frequent_tokens(manifest: Manifest, vocabulary: Vocabulary) -> dict[str, float]:
    """Return the most frequent tokens, each with its percentage of all tokens."""
    counts = np.array(manifest.statistics.token_counts)
    most = np.argsort(-counts, kind="stable")[:_MOST_TOKENS]
    return {vocabulary.pieces[number]: 100 * counts[number] / max(1, counts.sum()) for number in most if counts[number]}


def _draw_lengths(axes: Axes, manifest: Manifest) -> None:
    rows_by_length = manifest.statistics.length_histogram
    axes.bar(np.arange(len(rows_by_length)), rows_by_length, width=1.0, color=_INK)
    axes.set(xlabel="tokens per row", ylabel="rows (logarithmic)", yscale="symlog")
    axes.set(xlim=(0, manifest.max_seq_length + 1), ylim=(0, None))


def _draw_bars(axes: Axes, values: Mapping[str, float], what: str, digits: int = 0) -> None:
    """Draw one bar per name, with the first at the top. Names are not parsed as formulas."""
    places = np.arange(len(values))
    bars = axes.barh(places, list(values.values()), color=_INK)
    axes.bar_label(bars, fmt=f"{{:,.{digits}f}}", padding=2, fontsize=7)
    axes.set_yticks(places, list(values), parse_math=False, fontsize=7)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set(xlabel=what)


def _draw_ranks(axes: Axes, manifest: Manifest) -> None:
    counts = np.sort(np.array(manifest.statistics.token_counts))[::-1]
    occurring = counts[counts > 0]
    axes.plot(np.arange(1, len(occurring) + 1), occurring, color=_INK)
    axes.set(xlabel="rank of the word piece", ylabel="occurrences", xscale="log", yscale="log")
