"""Attention over ragged rows, to the whole row or within a window, and the rotary positions of queries and keys."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
