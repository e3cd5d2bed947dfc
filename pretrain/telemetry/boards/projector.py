"""The vectors of the most frequent word pieces, as TensorBoard's projector reads them.

tb/projector_config.pbtxt    names the two files
tb/projector/vectors.tsv     one vector per line
tb/projector/pieces.tsv      the word piece of each line, and how often it occurs in the training split
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor

from configs.errors import UserError
from configs.files import atomic_write_text
from pretrain.engine import Engine

log = logging.getLogger(__name__)

MOST_PIECES = 5_000  # what the projector shows at once, and TensorBoard reads in seconds
WORDS = "bert.embeddings.word.weight"
CONFIG, VECTORS, PIECES = "projector_config.pbtxt", "projector/vectors.tsv", "projector/pieces.tsv"


@dataclass(frozen=True)
class WordVectors:
    """Vectors by word-piece id, most frequent first, and the occurrences of each."""

    ids: list[int]
    counts: list[int]
    vectors: Tensor  # [N, H]


@torch.no_grad()
def word_vectors(engine: Engine, token_counts: Sequence[int], parameter: str = WORDS) -> WordVectors:
    """Return the master weights of the most frequent word pieces. A collective, at every ZeRO stage."""
    counts = torch.tensor(token_counts)
    most, ids = counts.sort(descending=True, stable=True)
    shown = min(MOST_PIECES, int((counts > 0).sum()))
    hidden = engine.shapes[parameter][1]
    vectors = torch.zeros(shown * hidden, device=engine.world.device)
    for fragment in engine.partition.saved:
        if fragment.name == parameter:
            for row, number in enumerate(ids[:shown].tolist()):
                start = max(fragment.offset, number * hidden)
                length = min(fragment.offset + fragment.numel, (number + 1) * hidden) - start
                if length > 0:
                    place = (row - number) * hidden + start
                    vectors[place : place + length] = fragment.master.narrow(0, start - fragment.offset, length)
    torch.distributed.all_reduce(vectors)
    return WordVectors(ids[:shown].tolist(), most[:shown].tolist(), vectors.view(shown, hidden).cpu())


def write_projector(folder: Path, words: WordVectors, read_pieces: Callable[[], Sequence[str]]) -> None:
    """Write the vectors to TensorBoard's folder of a run. A failure is logged: the training has ended well."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

    if not words.ids:
        return
    info = EmbeddingInfo(tensor_name="word pieces", tensor_path=VECTORS, metadata_path=PIECES)
    info.tensor_shape.extend(words.vectors.shape)
    try:
        pieces = read_pieces()
        (folder / VECTORS).parent.mkdir(exist_ok=True)
        atomic_write_text(folder / VECTORS, "".join(_lines(words.vectors)))
        names = (pieces[number] if pieces[number].isprintable() else ascii(pieces[number]) for number in words.ids)
        labels = (f"{name}\t{count}\n" for name, count in zip(names, words.counts, strict=True))
        atomic_write_text(folder / PIECES, "piece\toccurrences\n" + "".join(labels))
        atomic_write_text(folder / CONFIG, text_format.MessageToString(ProjectorConfig(embeddings=[info])))
    except (UserError, OSError) as error:  # no vocabulary to read, or no space
        log.error("the word vectors for TensorBoard's projector were not written: %s", error)


def _lines(vectors_NH: Tensor) -> Iterator[str]:
    for vector in vectors_NH.tolist():
        yield "\t".join(f"{value:.4g}" for value in vector) + "\n"
