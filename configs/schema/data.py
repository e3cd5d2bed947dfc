"""The whole of `[data]`: the parts that each step of the preparation is given, and what only their driver needs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from configs.schema.rows import RowsConfig
from configs.schema.section import RUNTIME, Section
from configs.schema.text import TextConfig, VocabularyConfig


class _KeyOrder(Section):
    """The order of the keys in a recipe and in a manifest. Their types, defaults, and ranges are those of the parts.

    The parts share their keys out by what needs them, and data sets have their keys in this order from before that.
    """

    dataset: Any
    corpora: Any
    workers: Any
    objective: Any
    nsp_mode: Any
    language: Any
    invalid_utf8: Any
    min_document_chars: Any
    duplicates: Any
    near_duplicate_threshold: Any
    boilerplate_documents: Any
    max_seq_length: Any
    short_seq_prob: Any
    masked_lm_prob: Any
    max_predictions_per_seq: Any
    mask_token_prob: Any
    random_token_prob: Any
    whole_word_masking: Any
    mask_word_once: Any
    dupe_factor: Any
    held_out_fraction: Any
    provenance: Any
    seed: Any
    group_bytes: Any
    vocabulary: Any


class DataConfig(TextConfig, RowsConfig, _KeyOrder):
    """The data set: which text, and how it becomes pairs with masks."""

    dataset: str = Field(
        "datasets/default",
        description="Folder of the data set: `prepare` writes it, `train` reads it.",
        json_schema_extra=RUNTIME,
    )
    workers: int = Field(
        0,
        ge=0,
        description="Preparation processes on this machine; 0: one a CPU core, fewer for a small corpus.",
        json_schema_extra=RUNTIME,
    )
    vocabulary: VocabularyConfig = Field(VocabularyConfig(), description="The WordPiece vocabulary.")
