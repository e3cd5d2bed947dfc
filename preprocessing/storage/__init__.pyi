# The door of preprocessing.storage: what other packages and rooms import from it.

from .compression import compression_of as compression_of, decompressed as decompressed, is_compressed as is_compressed
from .file_systems import (
    FileState as FileState,
    StoreError as StoreError,
    file_bytes as file_bytes,
    file_state as file_state,
    is_url as is_url,
    open_file as open_file,
)
from .folders import (
    FolderEntry as FolderEntry,
    ListFolder as ListFolder,
    entry_at as entry_at,
    folder_lister as folder_lister,
)
from .local_store import LocalStore as LocalStore
from .places import store_at as store_at
from .sections import (
    Section as Section,
    compressed_section as compressed_section,
    cuts_of as cuts_of,
    plain_section as plain_section,
)
from .store import Stamp as Stamp, Store as Store
