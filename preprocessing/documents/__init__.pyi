# The door of preprocessing.documents: what other packages and rooms import from it.

from .content import (
    FileContent as FileContent,
    digest_files as digest_files,
    states_of as states_of,
)
from .file_search import find_files as find_files
from .formats import FORMATS as FORMATS, Format as Format, objects_of as objects_of
from .input_files import (
    ReadCounter as ReadCounter,
    guess_file_encoding as guess_file_encoding,
    open_source as open_source,
    open_stored as open_stored,
)
from .markup import format_of as format_of, warn_of_markup as warn_of_markup
from .plan import (
    Plan as Plan,
    WorkItem as WorkItem,
    in_parts as in_parts,
    make_plan as make_plan,
    with_content as with_content,
)
from .progress import (
    Monitor as Monitor,
    Progress as Progress,
    Report as Report,
    StoppedError as StoppedError,
    forget as forget,
    forget_stop as forget_stop,
    read_reports as read_reports,
    request_stop as request_stop,
)
from .reader import (
    Document as Document,
    read_item as read_item,
    refuse_changed_input as refuse_changed_input,
)
from .spans import FileSpan as FileSpan
from .unpacking import (
    UNPACKED_FILES as UNPACKED_FILES,
    files_to_unpack as files_to_unpack,
    is_in_the_way as is_in_the_way,
    is_unpacked as is_unpacked,
    replacements_named as replacements_named,
    unpack as unpack,
    with_copies as with_copies,
)
