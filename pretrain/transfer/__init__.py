"""The second stage: fine-tuning, probing, features, and what a pretrained encoder is worth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
