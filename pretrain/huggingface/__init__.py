"""Conversion to and from Hugging Face, model cards, and loading of pretrained models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
