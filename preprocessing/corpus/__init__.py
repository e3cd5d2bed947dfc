"""The corpus: cleaning, removal of duplicates and boilerplate, and the sample for vocabulary training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
