# The door of preprocessing.inspection: what other packages and rooms import from it.

from .data_card import write_card as write_card
from .verification import verify as verify
