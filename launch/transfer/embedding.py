"""`bertrain embed`: write vectors, with a progress bar."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import Progress

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.transfer import Device, usual_length
from launch.terminal import console
from pretrain.huggingface import load_pretrained
from pretrain.transfer import (
    Features,
    Mix,
    Pooling,
    about_unknown,
    count_lines,
    device_of,
    read_texts,
    write_features,
)


def run_embed(
    place: Path,
    texts: Path,
    output: Path,
    *,
    field: str,
    layers: Sequence[int] | None,
    pooling: Pooling,
    mix: str,
    max_length: int | None,
    device: Device,
) -> None:
    """Write the vectors of the texts in a file, and print a summary.

    `layers` counts from 0, negative numbers count from the end, None means all. `mix` is empty, `mean`, or a mix file,
    which names its own layers.
    """
    source = load_pretrained(place)
    every = range(source.config.num_hidden_layers + 1)
    chosen = [layer if layer >= 0 else len(every) + layer for layer in layers or every]
    mixture = _mixture(mix, chosen)
    max_length = max_length or usual_length(source.config.max_position_embeddings)
    features = Features(source, mixture.layers if mixture else chosen, pooling, max_length, device_of(device))
    names = ["mix"] if mixture else [f"layer_{layer}" for layer in chosen]
    started, screen = time.monotonic(), console()
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar, explain_write_errors(output):
        task = bar.add_task("Embedding", total=count_lines(texts) or None)
        blocks = features.blocks(read_texts(texts, field), lambda count: bar.advance(task, count))
        if mixture:
            blocks = (replace(block, vectors=mixture.of(block.vectors)) for block in blocks)
        count = write_features(output, blocks, names, of_tokens=pooling is Pooling.tokens)
        bar.update(task, total=count, completed=count)
    seconds = time.monotonic() - started
    kind = "of their tokens" if pooling is Pooling.tokens else f"pooled by {pooling.value}"
    text = f"{output}: {', '.join(names)} of {count:,} texts, {kind}; {count / seconds:,.0f} texts/s"
    screen.print(text, markup=False)
    if features.empty:
        screen.print(f"{features.empty:,} of {count:,} texts are empty: vectors of [CLS] and [SEP]", markup=False)
    if warning := about_unknown(features.unknown, features.pieces):
        screen.print(f"warning: {warning}", markup=False)
    if features.cut:
        screen.print(
            f"{features.cut:,} of {count:,} texts cut to {max_length} tokens: raise --max-length", markup=False
        )


def _mixture(mix: str, layers: Sequence[int]) -> Mix | None:
    if not mix:
        return None
    if mix == "mean":
        return Mix(list(layers), [1 / len(layers)] * len(layers))
    if not Path(mix).is_file():
        raise UserError("no such mix", place=f"--mix {mix}", fix="give `mean` or the path of a mix file")
    return Mix.read(Path(mix))
