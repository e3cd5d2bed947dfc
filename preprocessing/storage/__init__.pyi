# The door of preprocessing.storage: what other packages and rooms import from it.

from .store import LocalStore as LocalStore, Store as Store, store_at as store_at
