"""DATA_CARD.md: a description of a data set, how it was made and what was dropped, in text, tables and pictures.

It begins with metadata that the Hugging Face Hub reads when the card is the README.md of a dataset repository.

All figures come from the manifest; no shard is read. The card is written next to the manifest, and its pictures to the
folder `card/`. Neither is part of the data set's digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from preprocessing.dataset import CARD, PICTURES, InputEntry, Manifest
from preprocessing.inspection.card_pictures import card_pictures, drops_by_cause, rows_by_label, write_picture
from preprocessing.storage import LocalStore, store_at
from preprocessing.vocabulary import Vocabulary

_MOST_FILES = 100  # of the input to list
_SIZES = (  # of a data set in rows, in the Hub's words
    (1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"), (1e12, "100B<n<1T"),
    (float("inf"), "n>1T"),
)  # fmt: skip


def write_card(place: str | Path, manifest: Manifest) -> str:
    """Write the card of the data set in a folder or at a URL, and its pictures. Returns the card's path or URL.

    Raises `UserError` when they cannot be written.
    """
    store = store_at(place)
    vocabulary = Vocabulary.of_data_set(store, manifest.vocabulary)
    pictures = card_pictures(manifest, vocabulary)
    with store.explained():
        if isinstance(store, LocalStore):
            (store.folder / PICTURES).mkdir(exist_ok=True)
        for name, picture in pictures.items():
            with store.write(f"{PICTURES}/{name}.png") as stream:
                write_picture(stream, picture)
        store.write_text(CARD, card_text(PurePosixPath(store.place).name, manifest, vocabulary))
    return f"{store.place}/{CARD}"


def card_text(name: str, manifest: Manifest, vocabulary: Vocabulary) -> str:
    """Return the card in Markdown."""
    statistics = manifest.statistics
    labels = rows_by_label(manifest)
    balance = "; ".join(f"{count:,} rows: {label}" for label, count in labels.items())
    shown = {
        name: f"![{picture.caption}]({PICTURES}/{name}.png)"
        for name, picture in card_pictures(manifest, vocabulary).items()
    }
    parts = [
        f"---\n{_front(name, manifest)}\n---",
        f"# Data set `{name}`",
        f"{statistics.text_bytes / 1e6:,.1f} MB of cleaned text in {statistics.documents:,} documents "
        f"({statistics.held_out_documents:,} of them held out) and {statistics.sentences:,} sentences, made into "
        f"masked rows of at most {manifest.max_seq_length} tokens for BERT pretraining, objective "
        f"`{manifest.objective}`, in {manifest.dupe_factor} passes, each with its own pairs and masks.",
        _table(("split", "pass", "shards", "rows", "tokens", "masked", "fill", "MB"), _totals(manifest)),
        "## Rows",
        f"In the first pass, the mean row has {_mean_length(manifest):.1f} tokens, "
        f"{_mean_length(manifest) / manifest.max_seq_length:.0%} of the maximum. {balance}. "
        f"{statistics.short_targets:,} of {statistics.drawn_targets:,} target lengths are shorter than a row.",
        _images(shown, "lengths", "labels"),
        "## Text in no row",
        *_losses(manifest),
        *([_corpora(manifest)] if len(manifest.corpora) > 1 else []),
        "## What was dropped or repaired",
        _table(("cause", "count"), [(cause, f"{count:,}") for cause, count in drops_by_cause(manifest).items()])
        if manifest.drops
        else "Nothing.",
        _images(shown, "drops"),
        *(["## Input files", _input_files(manifest)] if manifest.inputs else []),
        "## Duplicates and boilerplate",
        _comparison(manifest),
        _images(shown, "duplicates"),
        "## Tokens",
        f"{len(vocabulary):,} word pieces, {manifest.vocabulary.casing}; "
        f"{_unknown_share(manifest):.3%} of the text's tokens are [UNK]{_unknown_characters(manifest)}, and "
        f"{np.count_nonzero(np.array(statistics.token_counts)):,} word pieces occur.",
        _images(shown, "tokens", "ranks"),
        "## How it was made",
        "The same text and these fields give the same bytes.",
        _table(("field", "value"), [(f"`{key}`", f"`{value}`") for key, value in _flat(manifest.recipe).items()]),
        _table(
            ("digest", "SHA-256"),
            [
                ("data set", manifest.digest),
                ("input", manifest.input_digest),
                ("vocabulary", manifest.vocabulary.sha256),
            ],
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _images(shown: Mapping[str, str], *names: str) -> str:
    """Return the images of these names, as far as the data set has them."""
    return " ".join(shown[name] for name in names if name in shown)


def _front(name: str, manifest: Manifest) -> str:
    """Return the card's metadata as YAML."""
    from huggingface_hub import DatasetCardData

    common = manifest.recipe.get("language")
    languages = {corpus.get("language") or common for corpus in manifest.recipe.get("corpora", [{}])}
    rows = sum(shard.rows for shard in manifest.shards)
    return DatasetCardData(
        pretty_name=name,
        language=sorted(filter(None, languages)) or None,
        license="unknown",
        task_categories=["fill-mask"],
        size_categories=[next(size for bound, size in _SIZES if rows < bound)],
        tags=["bertrain", "pretraining", manifest.objective],
    ).to_yaml()


def _input_files(manifest: Manifest) -> str:
    """Return the table of the input files: all of them, or those of which most was dropped."""
    entries = sorted(manifest.inputs, key=lambda entry: entry.counts.kept - entry.counts.documents)[:_MOST_FILES]
    is_whole = len(entries) == len(manifest.inputs)
    which = "All of them" if is_whole else f"The {len(entries):,} files with the most dropped documents"
    rows = sum(shard.rows for shard in manifest.shards if shard.pass_number == 0)
    megabytes = sum(entry.bytes for entry in manifest.inputs) / 1e6
    names = ("corpus", "file", "MB", "documents", "taken", "dropped", "SHA-256 of its pieces")
    lines = [_input_file(entry) for entry in sorted(entries, key=lambda entry: (entry.corpus, entry.name))]
    return (
        f"{len(manifest.inputs):,} files of {megabytes:,.1f} MB as stored, which give "
        f"{rows / max(1e-6, megabytes):,.0f} rows of pass 0 a megabyte. {which}:\n\n{_table(names, lines)}"
    )


def _input_file(entry: InputEntry) -> tuple[str, ...]:
    counts = entry.counts
    dropped = ", ".join(f"{lost.documents:,} {cause.replace('_', ' ')}" for cause, lost in counts.dropped.items())
    numbers = (f"{entry.bytes / 1e6:,.1f}", f"{counts.documents:,}", f"{counts.kept:,}")
    return (str(entry.corpus), f"`{entry.name}`", *numbers, dropped, f"`{entry.sha256[:16]}`")


def _totals(manifest: Manifest) -> list[tuple[str, ...]]:
    lines = []
    for split, number in sorted({(shard.split, shard.pass_number) for shard in manifest.shards}, reverse=True):
        shards = manifest.select(split, number)
        rows, tokens, masked, size = (
            sum(getattr(shard, name) for shard in shards) for name in ("rows", "tokens", "masked_tokens", "bytes")
        )
        fill = tokens / max(1, rows * manifest.max_seq_length)
        counts = (f"{count:,}" for count in (len(shards), rows, tokens, masked))
        lines.append((split, str(number), *counts, f"{fill:.0%}", f"{size / 1e6:,.1f}"))
    return lines


def _losses(manifest: Manifest) -> list[str]:
    """Describe what the passes lose."""
    if not manifest.losses:
        return ["Not counted in this format version."]
    lines = []
    for one in manifest.losses:
        counts = (one.pieces, one.tokens_cut, one.sentences_cut, one.in_no_row.cut, one.in_no_row.no_pair)
        lines.append((one.split, str(one.pass_number), *(f"{count:,}" for count in counts)))
    head = ("split", "pass", "word pieces", "tokens cut", "sentences cut", "in no row: cut", "in no row: no pair")
    pieces = max(1, manifest.losses[0].pieces)
    cut, no_pair = manifest.in_no_row.cut, manifest.in_no_row.no_pair
    text = (
        f"{cut + no_pair:,} word pieces ({(cut + no_pair) / pieces:.3%}) of the training split stand in no row of any "
        f"pass: {cut:,} are cut off at the ends of rows in each pass, {no_pair:,} are of documents that make no row."
    )
    forced, repeated = manifest.statistics.forced_following_pairs, manifest.statistics.repeated_pairs
    if forced or repeated:
        text += (
            f" In the first pass, {forced:,} rows follow A without a coin, and {repeated:,} rows are there twice, "
            "because one document has most of the rows of its group."
        )
    return [text, _table(head, lines)]


def _corpora(manifest: Manifest) -> str:
    """Return a table of the corpora: the copies of a weight are included."""
    rows = max(1, sum(corpus.rows for corpus in manifest.corpora))
    lines = [
        (
            str(corpus.corpus),
            *(f"{count:,}" for count in (corpus.documents, corpus.held_out_documents)),
            f"{corpus.text_bytes / 1e6:,.1f}",
            *(f"{count:,}" for count in (corpus.rows, corpus.tokens)),
            f"{corpus.rows / rows:.1%}",
        )
        for corpus in manifest.corpora
    ]
    return _table(("corpus", "documents", "held out", "MB of text", "rows", "tokens", "share of rows"), lines)


def _mean_length(manifest: Manifest) -> float:
    rows_by_length = np.array(manifest.statistics.length_histogram)
    return float(rows_by_length @ np.arange(len(rows_by_length)) / max(1, rows_by_length.sum()))


def _unknown_characters(manifest: Manifest) -> str:
    """Return the share of unknown characters in brackets, or nothing for a data set whose build did not count them."""
    statistics = manifest.statistics
    return f" ({statistics.unknown_chars / statistics.chars:.3%} of its characters)" if statistics.chars else ""


def _unknown_share(manifest: Manifest) -> float:
    counts = manifest.statistics.token_counts
    return counts[manifest.vocabulary.unk_id] / max(1, sum(counts))


def _comparison(manifest: Manifest) -> str:
    """Describe how documents were compared, and the result."""
    duplicates, threshold = manifest.recipe.get("duplicates", "none"), manifest.recipe.get("near_duplicate_threshold")
    definition = {"none": "were not searched for", "exact": "are documents with equal cleaned text"}
    definition["near"] = f"are documents with equal text, or that share {threshold} of their word 5-grams"
    drops = manifest.drops
    exact, near = drops.get("exact_duplicate", 0), drops.get("near_duplicate", 0)
    text = f"Duplicates {definition[duplicates]}. {exact:,} exact and {near:,} near duplicates were dropped."
    if (least := manifest.recipe.get("boilerplate_documents")) is None:
        return f"{text} Boilerplate lines were not searched for."
    lines, documents = drops.get("boilerplate_line", 0), drops.get("boilerplate_removed", 0)
    return (
        f"{text} Lines that appear in at least {least:,} documents were removed: {lines:,} lines from {documents:,} "
        "documents."
    )


def _flat(fields: Mapping[str, object], prefix: str = "data.") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
