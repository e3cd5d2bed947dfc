"""The complete `[data]` section: the parts that each preparation step receives, and the settings of their driver."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from configs.schema.paths import LocalPath
from configs.schema.rows import RowsConfig
from configs.schema.section import RUNTIME, Section
from configs.schema.text import TextConfig, VocabularyConfig


class _KeyOrder(Section):
    """The order of the keys in a recipe and in a manifest. The parts define their types, defaults, and ranges.

    The parts group the keys by the step that uses them; data sets keep this older order, so that their bytes do not
    change.
    """

    dataset: Any
    corpora: Any
    workers: Any
    accept_losses: Any
    objective: Any
    nsp_mode: Any
    language: Any
    invalid_utf8: Any
    unpack: Any
    incremental: Any
    min_document_chars: Any
    duplicates: Any
    near_duplicate_threshold: Any
    boilerplate_documents: Any
    wikitext_templates: Any
    decontaminate: Any
    decontaminate_words: Any
    decontaminate_sha256: Any
    max_seq_length: Any
    short_seq_prob: Any
    masked_lm_prob: Any
    max_predictions_per_seq: Any
    mask_token_prob: Any
    random_token_prob: Any
    whole_word_masking: Any
    chinese_words: Any
    mask_word_once: Any
    span_masking: Any
    dupe_factor: Any
    held_out_fraction: Any
    provenance: Any
    seed: Any
    group_bytes: Any
    vocabulary: Any


class DataConfig(TextConfig, RowsConfig, _KeyOrder):
    """The data set: its text, and how the text becomes masked pairs."""

    dataset: LocalPath = Field(
        "datasets/default",
        description="Folder or URL of the data set: `prepare` writes it, `train` reads it. A relative path starts at "
        "the working folder.",
        json_schema_extra=RUNTIME,
    )
    workers: int = Field(
        0,
        ge=0,
        le=4096,
        description="Preparation processes on this machine; 0: one per CPU core that this process may use (affinity, "
        "cgroup quota), and no more than one per GiB of memory that it may use; fewer for a small corpus.",
        json_schema_extra=RUNTIME,
    )
    accept_losses: bool = Field(
        False,
        description="Make the data set although at least half of the input is lost or mangled: documents dropped that "
        "no filter asked for, bytes that are not UTF-8, characters that become [UNK], or word pieces in no row.",
        json_schema_extra=RUNTIME,
    )
    vocabulary: VocabularyConfig = Field(VocabularyConfig(), description="The vocabulary.")

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that take no part in the rows, with the reason."""
        idle = {}
        if self.objective != "nsp":
            idle["nsp_mode"] = f'data.objective is "{self.objective}"'
        if self.duplicates != "near":
            idle["near_duplicate_threshold"] = f'data.duplicates is "{self.duplicates}"'
        return idle

    def byte_fields(self) -> dict[str, Any]:
        """The same, with the defaults of keys that take no part: they do not make another data set."""
        fields = super().byte_fields()
        idle = fields.keys() & self.idle_keys().keys()
        return fields | {name: type(self).model_fields[name].get_default() for name in idle}


def settled_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the `byte_fields` in a manifest as this version states them: with all keys, and defaults of idle ones."""
    try:
        return DataConfig.model_validate(recipe).byte_fields()
    except ValidationError:  # of a later version
        return recipe
