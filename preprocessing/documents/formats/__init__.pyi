# The door of preprocessing.documents.formats: what the other files of preprocessing.documents import from it.

from .format import Format as Format
from .json_lines import objects_of as objects_of
from .table import FORMATS as FORMATS
