"""One word in several senses: how far apart they lie in the space of each layer.

N contexts of the word · L layers, from the embeddings on · H width · T tokens of all contexts, special ones included
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
from pretrain.huggingface import Pretrained
from pretrain.transfer.features import Features, Floats, Pooling

SHIPPED = {"bank": Path(__file__).with_name("bank.tsv")}
FORM = "give a sense, a tab and a sentence with the word a line; of two senses or more, each in two sentences or more"


@dataclass(frozen=True)
class Context:
    """A sentence, where in it the word stands, in characters, and in which sense."""

    sense: str
    sentence: str
    start: int
    end: int


@dataclass(frozen=True)
class Separation:
    """How far apart the senses lie in one layer, by the directions of the word's vectors."""

    silhouette: float  # -1 to 1: how much nearer its own sense is to a vector than the next one (Rousseeuw 1987)
    accuracy: float  # of naming a vector's sense by the nearest centroid of all others


def read_contexts(path: Path, word: str) -> list[Context]:
    """A context a line, `sense<TAB>sentence`, the word's first occurrence in it, in any case.

    `UserError` names the line without it; or tells that there are too few to compare.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the contexts: {error}", place=str(path), fix=FORM) from error
    contexts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        sense, tab, sentence = line.partition("\t")
        found = re.search(rf"\b{re.escape(word)}\b", sentence, re.IGNORECASE)
        if not (tab and sense.strip() and found):
            cause = f"no word {word!r} after a sense and a tab"
            raise UserError(cause, place=f"{path}, line {number}", fix=FORM)
        contexts.append(Context(sense.strip(), sentence, *found.span()))
    counts = Counter(context.sense for context in contexts)
    if len(counts) < 2 or min(counts.values()) < 2:
        told = ", ".join(f"{sense} {count}" for sense, count in counts.items()) or "none"
        raise UserError(f"too few contexts to compare: {told}", place=str(path), fix=FORM)
    return contexts


def word_vectors(source: Pretrained, contexts: Sequence[Context]) -> Floats:
    """The word's vector in each context and every layer, the mean of its word pieces: [L, N, H].

    `UserError` when a sentence is too long for the model to see the word.
    """
    layers = range(source.config.num_hidden_layers + 1)
    features = Features(source, layers, Pooling.tokens, source.config.max_position_embeddings, torch.device("cpu"))
    sentences = [context.sentence for context in contexts]
    encodings = features.tokenizer.encode_batch(sentences)
    places = [_places(context, encoding) for context, encoding in zip(contexts, encodings, strict=True)]
    states_LTH = np.concatenate([block.vectors for block in features.blocks(iter(sentences))], axis=1)
    firsts = np.cumsum([0, *(len(encoding) for encoding in encodings)])
    means = [states_LTH[:, first + here].mean(1) for first, here in zip(firsts, places, strict=False)]
    return np.stack(means, axis=1)


def separation(vectors_NH: Floats, senses: Sequence[str]) -> Separation:
    """How far apart the senses' vectors lie, each vector scaled to length 1: all that counts is where it points.

    Needs scikit-learn.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import normalize

    directions_NH = normalize(vectors_NH)
    names, sense_N = np.unique(senses, return_inverse=True)
    is_sense_NS = np.eye(len(names), dtype=np.float32)[sense_N]
    return Separation(float(silhouette_score(directions_NH, sense_N)), _named_right(directions_NH, is_sense_NS))


def _named_right(vectors_NH: Floats, is_sense_NS: Floats) -> float:
    """The share of vectors nearest to their own sense's centroid, of which they are no part themselves.

    Leaving it out moves its own centroid away: where the layer knows nothing, fewer are right than by guessing.
    """
    own_NSH = is_sense_NS[:, :, None] * vectors_NH[:, None]
    centroids_NSH = (own_NSH.sum(0) - own_NSH) / (is_sense_NS.sum(0) - is_sense_NS)[:, :, None]
    nearest_N = np.linalg.norm(vectors_NH[:, None] - centroids_NSH, axis=-1).argmin(1)
    return float((nearest_N == is_sense_NS.argmax(1)).mean())


def _places(context: Context, encoding: Encoding) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Of the sentence's tokens, the word's."""
    here = [place for place, (start, end) in enumerate(encoding.offsets) if start < context.end and end > context.start]
    if not here or encoding.offsets[here[-1]][1] < context.end:
        fix = "shorten what stands before the word"
        raise UserError("the word lies beyond the model's positions", place=repr(context.sentence), fix=fix)
    return np.array(here)
