"""`[data]`, from cleaned documents to masked rows."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from configs.schema.section import LATER, Fraction, Section

Objective = Literal["nsp", "sop", "none"]


class PairingConfig(Section):
    """How the sentences of documents become rows."""

    objective: Objective = Field(
        "nsp",
        description="Sentence objective in addition to masked words. nsp (next sentence): does B follow A, or does it "
        "come from another document; sop (sentence order): are A and B in order or swapped; none: masked words only.",
    )
    nsp_mode: Literal["balanced", "reference"] = Field(
        "balanced",
        description="For nsp. balanced: both labels are equally frequent and independent of the segment lengths; "
        "reference: as in Google's script.",
    )
    max_seq_length: int = Field(
        128, ge=16, le=32_768, description="Maximum tokens per pair, including [CLS] and both [SEP]."
    )
    short_seq_prob: Fraction = Field(
        0.1, description='Share of rows with a random shorter target length; for nsp_mode="reference": of documents.'
    )
    seed: int = Field(12_345, ge=0, lt=2**63, description="Seed of pairs and masks.")


class MaskingConfig(Section):
    """Which tokens of a row are predicted, and which tokens replace them."""

    masked_lm_prob: float = Field(0.15, ge=1e-6, lt=1.0, description="Share of a pair's tokens to predict.")
    max_predictions_per_seq: int = Field(
        0,
        ge=0,
        le=32_768,
        description="Maximum masked positions per pair; 0: masked_lm_prob of max_seq_length, rounded up, so that only "
        "masked_lm_prob determines their number.",
    )
    mask_token_prob: Fraction = Field(0.8, description="Share of masked positions that become [MASK].")
    random_token_prob: Fraction = Field(
        0.1,
        description="Share of masked positions that become a random ordinary token; the remaining ones keep their "
        "token.",
    )
    whole_word_masking: bool = Field(False, description="Mask whole words, with all of their word pieces.")
    chinese_words: Literal["characters", "jieba"] = Field(
        "characters",
        description="whole_word_masking: the words of Chinese text. characters: each character is one; jieba: the "
        "words of jieba's exact mode, with its hidden Markov model and its dictionary, in each run of Chinese "
        "characters of a row (needs the extra `chinese`). Other scripts are not affected.",
        json_schema_extra=LATER,
    )
    mask_word_once: bool = Field(
        False,
        description="Mask at most one occurrence of a word in a segment (of a word piece, without whole_word_masking).",
    )
    span_masking: bool = Field(
        False,
        description="Mask spans of consecutive words (of word pieces, without whole_word_masking) as in SpanBERT: 1 to "
        "10 words, 3.8 on average, until masked_lm_prob is reached.",
        json_schema_extra=LATER,
    )

    @model_validator(mode="after")
    def _words_are_masked(self) -> Self:
        if self.chinese_words != "characters" and not self.whole_word_masking:
            raise ValueError('chinese_words needs whole_word_masking = true; set it, or chinese_words = "characters"')
        return self

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_token_prob + self.random_token_prob > 1.0 + 1e-9:
            raise ValueError("mask_token_prob + random_token_prob is above 1; lower one of them")
        if self.span_masking and self.mask_word_once:
            raise ValueError("span_masking and mask_word_once cannot be combined; set one of them")
        return self


class RowsConfig(PairingConfig, MaskingConfig):
    """How cleaned documents become the rows of all passes."""

    dupe_factor: int = Field(
        10, ge=1, le=1000, description="Passes over the corpus, each with its own pairs and masks."
    )
    provenance: bool = Field(
        False,
        description="Write additional columns that record, for each row, the documents and sentences of its segments.",
    )

    @model_validator(mode="after")
    def _predictions_fit(self) -> Self:
        if not self.max_predictions_per_seq:  # the settings are frozen: this is their only change
            object.__setattr__(self, "max_predictions_per_seq", self.most_expected_masks)
        if self.max_predictions_per_seq > self.max_seq_length - 3:
            raise ValueError(
                f"max_predictions_per_seq is {self.max_predictions_per_seq}, but a row of {self.max_seq_length} tokens "
                f"has only {self.max_seq_length - 3} ordinary ones; lower it"
            )
        return self

    @property
    def most_expected_masks(self) -> int:
        """The number of tokens that `masked_lm_prob` masks in a full row, rounded up."""
        return max(1, min(math.ceil(self.masked_lm_prob * self.max_seq_length), self.max_seq_length - 3))
