"""Word senses: how well each layer's vectors separate the senses of one word.

N contexts of the word · L layers, starting with the embeddings · H width
T tokens of all contexts, special tokens included
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Encoding

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, read_bounded
from pretrain.huggingface import Pretrained
from pretrain.transfer.features import Features, Floats, Pooling

SHIPPED = {"bank": Path(__file__).with_name("bank.tsv")}
FORMAT_FIX = (
    "write a sense, a tab and a sentence with the word on each line; give at least two senses with two lines each"
)


@dataclass(frozen=True)
class Context:
    """A sentence, the word's character offsets in it, and the word's sense."""

    sense: str
    sentence: str
    start: int
    end: int


@dataclass(frozen=True)
class Separation:
    """The separation of the senses in one layer, measured on the directions of the word's vectors."""

    silhouette: float  # -1 to 1: how much nearer a vector is to its own sense than to the next one (Rousseeuw 1987)
    accuracy: float  # of predicting a vector's sense as that of the nearest centroid of all other vectors


def read_contexts(path: Path, word: str) -> list[Context]:
    """Read one context per line, `sense<TAB>sentence`, with the word's first occurrence in it, ignoring case.

    Raises `UserError` for a line without the word, and when there are too few contexts to compare.
    """
    try:
        lines = read_bounded(path, MOST_MODEL_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the contexts: {cause}", place=str(path), fix=FORMAT_FIX) from error
    contexts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        sense, tab, sentence = line.partition("\t")
        found = re.search(rf"\b{re.escape(word)}\b", sentence, re.IGNORECASE)
        if not (tab and sense.strip() and found):
            cause = f"no sense, tab and sentence with the word {word!r}"
            raise UserError(cause, place=f"{path}, line {number}", fix=FORMAT_FIX)
        contexts.append(Context(sense.strip(), sentence, *found.span()))
    counts = Counter(context.sense for context in contexts)
    if len(counts) < 2 or min(counts.values()) < 2:
        counted = ", ".join(f"{sense} {count}" for sense, count in counts.items()) or "none"
        raise UserError(f"too few contexts to compare: {counted}", place=str(path), fix=FORMAT_FIX)
    return contexts


def word_vectors(source: Pretrained, contexts: Sequence[Context]) -> Floats:
    """Return the word's vector in each context and layer, the mean of its word pieces: [L, N, H].

    Raises `UserError` when the word is beyond the model's last position.
    """
    layers = range(source.config.num_hidden_layers + 1)
    features = Features(source, layers, Pooling.tokens, source.config.max_position_embeddings, torch.device("cpu"))
    sentences = [context.sentence for context in contexts]
    encodings = features.tokenizer.encode_batch(sentences)
    places = [_word_tokens(context, encoding) for context, encoding in zip(contexts, encodings, strict=True)]
    states_LTH = np.concatenate([block.vectors for block in features.blocks(iter(sentences))], axis=1)
    firsts = np.cumsum([0, *(len(encoding) for encoding in encodings)])
    means = [states_LTH[:, first + here].mean(1) for first, here in zip(firsts, places, strict=False)]
    return np.stack(means, axis=1)


def separation(vectors_NH: Floats, senses: Sequence[str]) -> Separation:
    """Return the separation of the senses; vectors are scaled to length 1, so that only their directions count.

    Needs scikit-learn.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import normalize

    directions_NH = normalize(vectors_NH)
    names, sense_N = np.unique(senses, return_inverse=True)
    is_sense_NS = np.eye(len(names), dtype=np.float32)[sense_N]
    return Separation(
        float(silhouette_score(directions_NH, sense_N)), _nearest_centroid_accuracy(directions_NH, is_sense_NS)
    )


def _nearest_centroid_accuracy(vectors_NH: Floats, is_sense_NS: Floats) -> float:
    """Return the share of vectors whose nearest centroid is their own sense's, computed without the vector itself.

    Leaving a vector out moves its own sense's centroid away from it. The accuracy of an uninformative layer is
    therefore below that of guessing.
    """
    own_NSH = is_sense_NS[:, :, None] * vectors_NH[:, None]
    centroids_NSH = (own_NSH.sum(0) - own_NSH) / (is_sense_NS.sum(0) - is_sense_NS)[:, :, None]
    nearest_N = np.linalg.norm(vectors_NH[:, None] - centroids_NSH, axis=-1).argmin(1)
    return float((nearest_N == is_sense_NS.argmax(1)).mean())


def _word_tokens(context: Context, encoding: Encoding) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the indices of the word's tokens in the sentence."""
    here = [place for place, (start, end) in enumerate(encoding.offsets) if start < context.end and end > context.start]
    if not here or encoding.offsets[here[-1]][1] < context.end:
        fix = "shorten the text before the word"
        raise UserError("the word is beyond the model's positions", place=repr(context.sentence), fix=fix)
    return np.array(here)
