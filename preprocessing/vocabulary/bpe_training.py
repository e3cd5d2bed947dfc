"""Train a byte-level BPE on a corpus, as GPT-2's and ModernBERT's tokenizers are (Radford et al. 2019).

Every byte is a token, so no text is unknown, and none is changed but by Unicode's canonical composition. The trainer is
that of Hugging Face `tokenizers`. With the whole alphabet given, it depends on nothing but the counts of the words:
ties go to the pair with the smaller ids, so the same text always gives the same tokenizer, in any order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary.tokenizer_json import MASK, TokenizerJson
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary

_TEXTS_A_CALL = 1000

logger = logging.getLogger(__name__)


def train_byte_level_bpe(texts: Iterable[str], config: VocabularyConfig) -> Vocabulary:
    """Train a byte-level BPE of `texts`: special tokens, unused slots, bytes, then merges by decreasing count.

    A text with too few distinct words for `config.size` gives a smaller vocabulary and a warning. Raises `UserError`
    for a text without words.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [*SPECIAL_TOKENS, *(f"[unused{slot}]" for slot in range(config.unused_slots))]
    trainer = trainers.BpeTrainer(
        vocab_size=config.size,
        min_frequency=config.min_frequency,
        show_progress=False,
        special_tokens=[AddedToken(token, lstrip=token == MASK, special=True) for token in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_blocks(texts), trainer)
    size = tokenizer.get_vocab_size()
    if size == len(special) + len(pre_tokenizers.ByteLevel.alphabet()):
        raise UserError("the corpus contains no words to train a vocabulary on", fix="check data.corpora")
    if size < config.size:
        logger.warning("the corpus yields a vocabulary of %d entries, not %d", size, config.size)
    return Vocabulary.of_tokenizer(TokenizerJson.parse(tokenizer.to_str().encode(), "the trained tokenizer"))


def _blocks(texts: Iterable[str]) -> Iterable[list[str]]:
    """Yield the texts in lists, as the trainer reads them fastest."""
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == _TEXTS_A_CALL:
            yield block
            block = []
    yield block
