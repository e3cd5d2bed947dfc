"""Corpus formats, each a `Format`. To add one, add a file here, a record in table.py, and a name in the schema."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
