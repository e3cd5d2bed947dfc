# The door of preprocessing.vocabulary: what other packages and rooms import from it.

from .bpe_training import train_byte_level_bpe as train_byte_level_bpe
from .reachability import (
    casing_that_reaches as casing_that_reaches,
    lacks_capitals as lacks_capitals,
    unreachable_share as unreachable_share,
    warn_of_unreachable as warn_of_unreachable,
)
from .tokenizer_encoder import encoder_of as encoder_of
from .tokenizer_json import (
    CLS as CLS,
    MASK as MASK,
    PAD as PAD,
    SEP as SEP,
    UNK as UNK,
    TokenizerJson as TokenizerJson,
)
from .training import train_vocabulary as train_vocabulary
from .vocabulary import (
    CONTINUATION as CONTINUATION,
    MAX_WORD_CHARS as MAX_WORD_CHARS,
    SPECIAL_TOKENS as SPECIAL_TOKENS,
    Vocabulary as Vocabulary,
)
from .vocabulary_files import (
    check_tokenizer as check_tokenizer,
    read_vocabulary as read_vocabulary,
    stored_vocabulary as stored_vocabulary,
)
from .whole_words import (
    CHINESE_CHARACTERS as CHINESE_CHARACTERS,
    UNSPACED_SCRIPTS as UNSPACED_SCRIPTS,
    continues_word as continues_word,
    require_segmenter as require_segmenter,
    require_words as require_words,
    shown_pieces as shown_pieces,
)
from .wordpiece import Encoder as Encoder, SpanEncoder as SpanEncoder
