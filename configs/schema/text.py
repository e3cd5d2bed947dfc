"""`[data]`, from input files to cleaned documents, and the vocabulary."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.schema.section import RUNTIME, Section


class CorpusConfig(Section):
    """One corpus: files of one format."""

    paths: list[str] = Field(
        min_length=1, description="Files, folders or globs, local or at URLs such as s3://bucket/corpus."
    )
    format: Literal["wikipedia", "wikiextractor", "text", "sentences", "files", "jsonl", "parquet"] = Field(
        description="wikipedia: MediaWiki XML dump; wikiextractor: <doc> elements; text: blank line between documents; "
        "sentences: so too, and a line is a sentence; files: a file is a document; jsonl: an object a line is one; "
        "parquet: a row is one."
    )
    text_field: str = Field("text", description="jsonl, parquet: the field or column that holds a document's text.")
    weight: float = Field(
        1.0,
        gt=0.0,
        le=100.0,
        description="How often each document is taken, with other pairs and masks each time. 2.5: twice, and half of "
        "the documents, chosen by digest, once more. 0.5: half of them. Held-out documents are taken once at most.",
    )


class VocabularyConfig(Section):
    """The WordPiece vocabulary: a given file, or one trained on the corpus."""

    file: str | None = Field(
        None,
        description="A vocab.txt or tokenizer.json to use; unset: train one on the corpus.",
        json_schema_extra=RUNTIME,
    )
    size: int = Field(30_522, ge=100, le=1_000_000, description="Entries to train, special tokens included.")
    lowercase: bool = Field(True, description="Lower-case the text (an uncased model).")
    strip_accents: bool | None = Field(None, description="Strip accents; unset: where the text is lower-cased.")
    min_frequency: int = Field(2, ge=1, description="Occurrences a word piece needs to enter a trained vocabulary.")
    unused_slots: int = Field(
        0, ge=0, description="Of the entries to train, how many to leave free as [unused0], [unused1] ..."
    )
    sample_bytes: int = Field(
        1 << 30, ge=1, description="Bytes of text to train on: all of a smaller corpus, an even sample of a larger."
    )

    @model_validator(mode="after")
    def _slots_leave_room(self) -> VocabularyConfig:
        if 2 * self.unused_slots > self.size:
            raise ValueError(f"unused_slots {self.unused_slots} is above half of size {self.size}; lower the former")
        return self


class ReadingConfig(Section):
    """Which files are read, and how much text is one unit of work."""

    corpora: list[CorpusConfig] = Field([], description="Where the text comes from.", json_schema_extra=RUNTIME)
    invalid_utf8: Literal["replace", "refuse"] = Field(
        "replace", description="Bytes that are not UTF-8: replace by U+FFFD and count, or refuse the file."
    )
    group_bytes: int = Field(
        64_000_000,
        ge=1_000,
        le=64_000_000,
        description="Bytes of text a group: the unit of work, about a shard a pass. A corpus of less than 16 groups is "
        "cut finer. A worker needs up to 1 GiB for the largest.",
    )


class CleaningConfig(Section):
    """Which documents and lines are kept, and for which split."""

    min_document_chars: int = Field(1, ge=1, description="Shorter documents are dropped and counted.")
    duplicates: Literal["none", "exact", "near"] = Field(
        "exact",
        description="Which documents to drop as repetitions of an earlier one: none; exact: of the same text once it "
        "is cleaned; near: also those that share most of their runs of five words (needs the extra `near`).",
    )
    near_duplicate_threshold: float = Field(
        0.8, ge=0.5, le=0.95, description="near: the share of all runs of both documents that is in both (Jaccard)."
    )
    boilerplate_documents: int | None = Field(
        None, ge=2, description="A line that stands in so many documents is removed from all; unset: lines stay."
    )
    held_out_fraction: float = Field(
        0.01, ge=0.0, lt=1.0, description="Share of documents, chosen by digest, kept out of training for evaluation."
    )

    @property
    def compares_documents(self) -> bool:
        """Whether the rest of the corpus decides what becomes of a document."""
        return self.duplicates != "none" or self.boilerplate_documents is not None


class TextConfig(ReadingConfig, CleaningConfig):
    """How input files become cleaned documents."""
