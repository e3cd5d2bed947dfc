# The door of preprocessing.storage: what other packages and rooms import from it.

from .file_systems import (
    StoreError as StoreError,
    file_bytes as file_bytes,
    files_below as files_below,
    is_url as is_url,
    open_file as open_file,
)
from .local_store import LocalStore as LocalStore
from .places import store_at as store_at
from .store import Store as Store
