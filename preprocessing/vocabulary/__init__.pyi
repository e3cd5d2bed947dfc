# The door of preprocessing.vocabulary: what other packages and rooms import from it.

from .reachability import (
    casing_that_reaches as casing_that_reaches,
    lacks_capitals as lacks_capitals,
    unreachable_share as unreachable_share,
    warn_of_unreachable as warn_of_unreachable,
)
from .training import train_vocabulary as train_vocabulary
from .vocabulary import (
    CLS as CLS,
    CONTINUATION as CONTINUATION,
    MASK as MASK,
    MAX_WORD_CHARS as MAX_WORD_CHARS,
    PAD as PAD,
    SEP as SEP,
    SPECIAL_TOKENS as SPECIAL_TOKENS,
    UNK as UNK,
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
)
from .wordpiece import Encoder as Encoder
