"""Features: the vectors of an encoder's layers, per token or pooled to one per text; batched by length.

L requested layers · H width · B texts of a block · T tokens of all its texts, special tokens included
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import UserError
from configs.files import read_bounded
from configs.records import parse_object
from pretrain.huggingface import Pretrained
from pretrain.model import Batch, BertModel
from pretrain.transfer.tasks import TokenRow, batch_of, count_unknown

BLOCK_TEXTS = 4096  # tokenised, sorted by length and written at once; this bounds the memory use
BATCH_TOKENS = 8192

Floats = NDArray[np.float32]


class Pooling(StrEnum):
    """How a text's vectors are computed from its tokens."""

    mean = "mean"  # the mean of the text's tokens, without [CLS] and [SEP]
    cls = "cls"  # the vector of [CLS]
    pooler = "pooler"  # the pretrained pooler's output, for the last layer only
    tokens = "tokens"  # one vector per token


@dataclass(frozen=True)
class FeatureBatch:
    """The vectors of a block of texts, in their order."""

    vectors: Floats  # [L, B, H], or [L, T, H] for tokens
    tokens: list[list[str]]  # word pieces of each text, [CLS] and [SEP] included


@dataclass(frozen=True)
class Mix:
    """A weighted mean of layers, with weights that sum to 1 (Peters et al. 2018, equation 1)."""

    layers: list[int]
    weights: list[float]

    def of(self, vectors_LNH: Floats) -> Floats:
        """Return the mixed vectors as one layer, [1, N, H]."""
        return np.tensordot(np.array(self.weights, np.float32), vectors_LNH, axes=1)[None]

    def write(self, path: Path) -> None:
        """Write as JSON, for `read`."""
        path.write_text(json.dumps({"layers": self.layers, "weights": self.weights}) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Mix:
        """Read a mix that a probe learned or a user wrote; raises `UserError` when the file is not a mix."""
        try:
            content = parse_object(read_bounded(path))
            layers, weights = [int(n) for n in content["layers"]], [float(w) for w in content["weights"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = 'give a file like {"layers": [1, 2], "weights": [0.3, 0.7]}'
            raise UserError(f"not a mix of layers: {error}", place=str(path), fix=fix) from error
        if len(layers) != len(weights) or abs(sum(weights) - 1) > 1e-3:
            cause = "the mix needs one weight per layer, and the weights must sum to 1"
            raise UserError(cause, place=str(path), fix="correct its numbers")
        return cls(layers, weights)


class Features:
    """Vectors of selected layers of an encoder; layer 0 is the embeddings' output, the last is the encoder's output."""

    def __init__(
        self, source: Pretrained, layers: Sequence[int], pooling: Pooling, max_length: int, device: torch.device
    ) -> None:
        most = source.config.num_hidden_layers
        if not layers or not all(0 <= layer <= most for layer in layers):
            cause = f"layers {', '.join(map(str, layers))}, but the model has 0 to {most}"
            raise UserError(cause, place="--layers", fix="choose from these layers")
        if pooling is Pooling.pooler and (list(layers) != [most] or "bert.pooler" in source.missing_parts):
            fix = "use --pool mean, or the last layer of a model with a pooler"
            raise UserError(f"there is no pooler for layers {layers}", place="--pool pooler", fix=fix)
        if pooling is Pooling.cls and source.config.is_left_to_right:
            cause = "[CLS] precedes the text, so in a model from left to right its vector is the same for all texts"
            raise UserError(cause, place="--pool cls", fix="use --pool mean")
        if max_length > source.config.max_position_embeddings:
            cause = f"rows of {max_length} tokens, but the model has {source.config.max_position_embeddings} positions"
            raise UserError(cause, place="--max-length", fix="lower it")
        self.layers = list(layers)
        self.pooling = pooling
        self.device = device
        self.encoder: BertModel = source.encoder().eval().to(device)
        self.vocabulary = source.vocabulary
        self.tokenizer = source.vocabulary.tokenizer()
        self.tokenizer.enable_truncation(max_length)
        self.cut = 0  # texts that were longer than `max_length` tokens
        self.empty = 0  # texts of white space only
        self.unknown = self.pieces = 0  # word pieces that are [UNK], and all

    def blocks(self, texts: Iterator[str], done: Callable[[int], None] = lambda count: None) -> Iterator[FeatureBatch]:
        """Yield the texts' vectors, `BLOCK_TEXTS` texts at a time; call `done` with each batch's number of texts."""
        while block := list(islice(texts, BLOCK_TEXTS)):
            yield self._block(block, done)

    @torch.no_grad()
    def _block(self, texts: Sequence[str], done: Callable[[int], None]) -> FeatureBatch:
        encodings = self.tokenizer.encode_batch(list(texts))
        self.cut += sum(bool(encoding.overflowing) for encoding in encodings)
        rows = [TokenRow.of(encoding) for encoding in encodings]
        unknown, pieces = count_unknown(rows, self.vocabulary)
        self.unknown, self.pieces = self.unknown + unknown, self.pieces + pieces
        self.empty += sum(not text.strip() for text in texts)
        parts: list[Any] = [None] * len(texts)
        for numbers in batches_by_length([len(row) for row in rows]):
            batch = batch_of([rows[number] for number in numbers]).to(self.device)
            for number, vectors in zip(numbers, self._vectors(batch), strict=True):
                parts[number] = vectors.float().cpu().numpy()
            done(len(numbers))
        tokens = [encoding.tokens for encoding in encodings]
        return FeatureBatch(np.concatenate(parts, axis=1), tokens)

    def _vectors(self, batch: Batch) -> list[Tensor]:
        """Return the vectors of each row of the batch, [L, 1, H], or [L, its tokens, H]."""
        lengths = batch.offsets.diff().tolist()
        if self.pooling is Pooling.pooler:
            pooled_BH = self.encoder(batch)[1]
            return [row[None, None] for row in pooled_BH]
        requested = set(self.layers)
        found = {number: state for number, state in enumerate(self.encoder.hidden_states(batch)) if number in requested}
        states = [found[number] for number in self.layers]
        states_LTH = torch.stack(states)
        if self.pooling is Pooling.mean:
            return list(torch.split(mean_of_rows(states_LTH, lengths), 1, dim=1))
        rows = torch.split(states_LTH, lengths, dim=1)
        return [row[:, :1] for row in rows] if self.pooling is Pooling.cls else list(rows)


def mean_of_rows(states_LTH: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the mean of each row's tokens without the first and last, [CLS] and [SEP]: [L, B, H].

    An empty text has only these two, and its vector is their mean.
    """
    rows = torch.split(states_LTH, list(lengths), dim=1)
    return torch.stack([(row[:, 1:-1] if row.shape[1] > 2 else row).mean(1) for row in rows], dim=1)


def batches_by_length(lengths: Sequence[int], max_tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar length, longest first, of at most `max_tokens` tokens after padding."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        size = max(1, max_tokens // lengths[order[0]])
        yield order[:size]
        order = order[size:]
