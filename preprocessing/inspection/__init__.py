"""Checking and describing a finished data set: the verifier and the data card."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
