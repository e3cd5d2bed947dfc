"""Kept documents to masked rows: sentences, word pieces, pairs, and masks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
