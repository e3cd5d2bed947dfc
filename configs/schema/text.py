"""`[data]`, from input files to cleaned documents, and the vocabulary."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.schema.languages import Language
from configs.schema.paths import LocalPath
from configs.schema.patterns import is_pattern
from configs.schema.section import LATER, RUNTIME, Section

_NOT_OF_FILES = (
    "charmap",
    "idna",
    "punycode",
    "raw-unicode-escape",
    "unicode-escape",
)  # Python has them for other uses


def is_text_encoding(name: str) -> bool:
    """Return whether a name, which can come from anywhere, is that of an encoding of text files."""
    try:
        "".encode(name)
        return codecs.lookup(name).name not in _NOT_OF_FILES
    except (LookupError, ValueError):  # unknown, a conversion of bytes to bytes, or no name at all
        return False


class CorpusConfig(Section):
    """One corpus: files in one format."""

    paths: list[LocalPath] = Field(
        min_length=1,
        description="Files, folders or glob patterns: local paths, which start at the working folder, or URLs such as "
        "s3://bucket/corpus.",
        json_schema_extra=RUNTIME,
    )
    format: Literal[
        "wikipedia",
        "wikiextractor",
        "text",
        "sentences",
        "files",
        "jsonl",
        "csv",
        "tsv",
        "parquet",
        "arrow",
        "warc",
    ] = Field(
        description="wikipedia: MediaWiki XML dump; wikiextractor: <doc> elements; text: documents separated by blank "
        "lines; sentences: as text, with one sentence per line; files: one document per file; jsonl: one document per "
        "line, as a JSON object; csv: one document per row, values can be quoted; tsv: one document per row, values "
        "between tabs, never quoted; parquet: one document per row; arrow: one document per row, as in the folders of "
        "Hugging Face datasets (save_to_disk); warc: web archives, WARC with the main text of each HTML page, or WET "
        "(needs the extra `web`)."
    )
    text_field: str | Annotated[list[str], Field(min_length=1)] = Field(
        "text",
        description="jsonl, csv, tsv, parquet, arrow: the field or column that holds a document's text; content.text: "
        "the field text in the object content; a list of fields: their texts joined by line ends. Paragraphs in a list "
        "are joined too.",
    )
    encoding: str = Field(
        "utf-8",
        description="Encoding of the files, such as latin-1, cp1251, gbk or utf-16. One worker reads each file that "
        "is not UTF-8.",
        json_schema_extra=LATER,
    )
    weight: float = Field(
        1.0,
        ge=1e-6,
        le=100.0,
        description="Number of copies of each document, each with its own pairs and masks. 2.5: every document twice, "
        "and half of the documents, chosen by digest, a third time. 0.5: half of the documents. Held-out documents are "
        "used at most once.",
    )
    language: Language | None = Field(
        None,
        description="ISO 639 language code of this corpus; unset: that of data.language.",
        json_schema_extra=LATER,
    )

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that take no part in the rows, with the reason."""
        has_fields = self.format in ("jsonl", "wikiextractor", "csv", "tsv", "parquet", "arrow")
        names_encoding = self.format in ("parquet", "arrow", "warc")
        idle = ["text_field"] * (not has_fields) + ["encoding"] * names_encoding
        return dict.fromkeys(idle, f'format is "{self.format}"')

    def byte_fields(self) -> dict[str, Any]:
        """The same, without paths, and with the defaults of keys that take no part."""
        defaults = {name: type(self).model_fields[name].get_default() for name in self.idle_keys()}
        return Section.byte_fields(self.model_copy(update=defaults))

    @field_validator("text_field")
    @classmethod
    def _fields_are_named_once(cls, text_field: str | list[str]) -> str | list[str]:
        fields = [text_field] if isinstance(text_field, str) else text_field
        if not all(field.strip() for field in fields):
            raise ValueError("the name of a field is empty; name the field that holds the text")
        if twice := [field for field in fields if fields.count(field) > 1]:
            raise ValueError(f"names {twice[0]!r} twice, and so its text would be in each document twice; name it once")
        return text_field

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str) -> str:
        if not is_text_encoding(encoding):
            raise ValueError(f"{encoding!r} is not an encoding of text; Python's names of encodings are accepted")
        return encoding

    @property
    def is_utf8(self) -> bool:
        """Whether the files are read as UTF-8."""
        return codecs.lookup(self.encoding).name == "utf-8"

    @property
    def text_fields(self) -> list[str]:
        """The fields of `text_field`."""
        return [self.text_field] if isinstance(self.text_field, str) else self.text_field


TRAINED_ONLY = ("size", "min_frequency", "unused_slots", "sample_bytes")  # of a vocabulary that is trained


_BYTES, _SPECIAL_TOKENS = 256, 5


class VocabularyConfig(Section):
    """The vocabulary: an existing file, or one trained on the corpus."""

    kind: Literal["wordpiece", "tokenizer"] = Field(
        "wordpiece",
        description="wordpiece: BERT's, in a vocab.txt or the tokenizer.json of a BERT model; tokenizer: any "
        "tokenizer.json of Hugging Face `tokenizers` (byte-level BPE, Unigram, WordPiece with any normaliser), which "
        "gives text the ids that `tokenizers` gives it. Trained on the corpus: a WordPiece vocabulary; a byte-level "
        "BPE.",
        json_schema_extra=LATER,
    )
    file: LocalPath | None = Field(
        None,
        description="A vocab.txt or tokenizer.json file to use; unset: train a vocabulary on the corpus. A relative "
        "path starts at the working folder.",
        json_schema_extra=RUNTIME,
    )
    size: int = Field(30_522, ge=100, le=1_000_000, description="Entries to train, including special tokens.")
    lowercase: bool = Field(True, description="Lower-case the text (an uncased model).")
    strip_accents: bool | None = Field(None, description="Strip accents; unset: the same as lowercase.")
    min_frequency: int = Field(
        2, ge=1, le=1 << 40, description="Minimum number of occurrences of a word piece in a trained vocabulary."
    )
    unused_slots: int = Field(
        0, ge=0, le=500_000, description="Number of the entries to reserve as [unused0], [unused1] ..."
    )
    sample_bytes: int = Field(
        1 << 30,
        ge=1,
        le=1 << 50,
        description="Bytes of text to train on: a smaller corpus is used completely, a larger one is sampled evenly.",
    )

    @model_validator(mode="after")
    def _slots_leave_room(self) -> VocabularyConfig:
        if 2 * self.unused_slots > self.size:
            raise ValueError(f"unused_slots {self.unused_slots} is above half of size {self.size}; lower the former")
        least = self.unused_slots + _BYTES + _SPECIAL_TOKENS
        if self.kind == "tokenizer" and self.file is None and self.size < least:
            raise ValueError(f"size {self.size} is below the {least} bytes and special tokens of a byte-level BPE")
        return self

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that take no part in the rows, with the reason."""
        idle = dict.fromkeys(TRAINED_ONLY, "data.vocabulary.file gives the vocabulary") if self.file else {}
        if self.kind == "tokenizer":
            idle |= dict.fromkeys(("lowercase", "strip_accents"), "the tokenizer does what its own normaliser says")
        return idle

    def byte_fields(self) -> dict[str, Any]:
        """The same, with the defaults of keys that take no part, and `strip_accents` unset where it is `lowercase`."""
        fields = super().byte_fields()
        if fields["strip_accents"] == fields["lowercase"]:
            fields["strip_accents"] = None
        return fields | {name: type(self).model_fields[name].get_default() for name in self.idle_keys()}


class ReadingConfig(Section):
    """The files to read, and the size of a unit of work."""

    corpora: list[CorpusConfig] = Field([], description="The input corpora.", json_schema_extra=RUNTIME)
    language: Language = Field("en", description="ISO 639 language code, for sentence ends and for templates of wikis.")
    invalid_utf8: Literal["replace", "refuse"] = Field(
        "replace", description="Invalid UTF-8. replace: replace it by U+FFFD and count it; refuse: refuse the file."
    )
    group_bytes: int = Field(
        64_000_000,
        ge=1_000,
        le=64_000_000,
        description="Bytes of text per group, the unit of work; a group becomes about one shard per pass. A corpus of "
        "fewer than 16 groups is divided into smaller ones. A worker needs up to 1 GiB of memory for the largest "
        "group size.",
    )
    unpack: bool = Field(
        False,
        description="Decompress large files that cannot be cut as they are compressed (gz of a single member, zst of a "
        "single frame, xz of a single block) into the data set's folder first, so that all workers read them. It takes "
        "their decompressed size on disk until the data set is finished.",
        json_schema_extra={"omitted_at_default": True},
    )
    incremental: bool = Field(
        False,
        description="Files can be added to the corpus later: prepare then makes only the groups of their text, and the "
        "groups that they change. The vocabulary stays that of the first corpus. A small corpus is not divided into "
        "smaller groups, and cleaned text is kept in the data set's folder.",
        json_schema_extra={"omitted_at_default": True},
    )

    def language_of(self, corpus: int) -> str:
        """Return the language of a corpus, given its number."""
        own = self.corpora[corpus].language if corpus < len(self.corpora) else None
        return own or self.language


class CleaningConfig(Section):
    """Which documents and lines to keep, and in which split."""

    min_document_chars: int = Field(1, ge=1, le=1 << 40, description="Shorter documents are dropped and counted.")
    duplicates: Literal["none", "exact", "near"] = Field(
        "exact",
        description="Duplicate documents to drop. none: none; exact: documents whose cleaned text is equal to that of "
        "an earlier document; near: also documents that share most of their five-word shingles with an earlier one "
        "(needs the extra `near`).",
    )
    near_duplicate_threshold: float = Field(
        0.8,
        ge=0.5,
        le=0.95,
        description="near: Jaccard similarity of two documents' shingles from which they are duplicates.",
    )
    boilerplate_documents: int | None = Field(
        None,
        ge=2,
        le=1 << 40,
        description="Remove each line that appears in at least this many documents; unset: keep all lines.",
    )
    wikitext_templates: dict[str, str] = Field(
        {},
        description='What templates of a wiki show, by name, beside those that are known: {"unité" = "{1}[ {2}]"} '
        "shows the first argument, and the second one if there is one. An empty text: nothing. See "
        "`configs/schema/patterns.py`.",
        json_schema_extra=LATER,
    )
    decontaminate: list[LocalPath] = Field(
        [],
        description="Files of evaluation text (text, JSON, JSON lines, CSV, TSV, Parquet). Documents that share a run "
        "of words with them are dropped and counted as contaminated.",
        json_schema_extra=RUNTIME,
    )
    decontaminate_words: int = Field(
        13,
        ge=2,
        le=100,
        description="decontaminate: number of words in such a run. Case and punctuation do not count, and a character "
        "is a word in scripts without blanks between words.",
        json_schema_extra=LATER,
    )
    decontaminate_sha256: str = Field(
        "", description="Digest of the evaluation text; `prepare` states it in the manifest.", json_schema_extra=LATER
    )
    held_out_fraction: float = Field(
        0.01,
        ge=0.0,
        lt=1.0,
        description="Share of documents, chosen by digest, that are held out from training for evaluation.",
    )

    @field_validator("wikitext_templates")
    @classmethod
    def _patterns_are_valid(cls, templates: dict[str, str]) -> dict[str, str]:
        for name, pattern in templates.items():
            if not is_pattern(pattern):
                raise ValueError(f'the pattern of "{name}" has a brace or bracket without its other half; fix it')
        return {" ".join(name.lower().replace("_", " ").split()): pattern for name, pattern in templates.items()}

    @property
    def compares_documents(self) -> bool:
        """Whether the result for a document depends on the rest of the corpus."""
        return self.duplicates != "none" or self.boilerplate_documents is not None


class TextConfig(ReadingConfig, CleaningConfig):
    """How input files become cleaned documents."""
