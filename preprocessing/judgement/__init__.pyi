# The door of preprocessing.judgement: the names that other packages and rooms import.

from .file_counts import (
    add_counts as add_counts,
    count_spans as count_spans,
    with_counts as with_counts,
)
from .losses import judge as judge
