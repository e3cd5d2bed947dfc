# The door of pretrain.transfer.labelled: what other packages and rooms import from it.

from .columns import is_header as is_header, text_column as text_column
from .label_set import LabelSet as LabelSet, names_of as names_of
from .overlaps import (
    FEW_TEST_RECORDS as FEW_TEST_RECORDS,
    contradictions as contradictions,
    shared_texts as shared_texts,
)
from .parts import SECOND_TEST as SECOND_TEST
from .records import Records as Records
from .splits import Splits as Splits, read_records as read_records, read_splits as read_splits
from .values import label_name as label_name, read_text as read_text
