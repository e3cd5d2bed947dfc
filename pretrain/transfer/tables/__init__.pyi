# The door of pretrain.transfer.tables: what other packages and rooms import from it.

from .columnar import STATE as STATE, is_columnar as is_columnar, read_saved_dataset as read_saved_dataset
from .containers import STDIN as STDIN, open_content as open_content, place_of as place_of
from .decoding import text_lines as text_lines
from .delimited import separator_of as separator_of
from .json_rows import parse as parse
from .rows import RecordError as RecordError, Row as Row, Table as Table
from .table import open_table as open_table, refuse_folder as refuse_folder, table_of as table_of
