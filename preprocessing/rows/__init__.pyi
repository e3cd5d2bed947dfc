# The door of preprocessing.rows: what other packages and rooms import from it.

from .coverage import Coverage as Coverage
from .encoding import (
    EncodedDocument as EncodedDocument,
    Outcome as Outcome,
    cut_groups as cut_groups,
    encode_documents as encode_documents,
    tokenized as tokenized,
)
from .masking import mask_pairs as mask_pairs, ordinary_tokens as ordinary_tokens, predictions as predictions
from .pairs import Pairs as Pairs, TokenizedDocuments as TokenizedDocuments, make_pairs as make_pairs
from .provenance import provenance_of as provenance_of
from .segments import FOLLOWS as FOLLOWS, RANDOM as RANDOM
