# The door of preprocessing.inspection: what other packages and rooms import from it.

from .data_card import write_card as write_card
from .decoding import (
    DecodedPair as DecodedPair,
    DecodedToken as DecodedToken,
    Origin as Origin,
    decode_pairs as decode_pairs,
    decode_row as decode_row,
)
from .shard_checks import Failure as Failure
from .verification import verify as verify
